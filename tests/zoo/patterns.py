"""Small networks, each of which has broken a pruning tool: those of the axis algebra's own tests, and some more."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from graph.axes import image_patterns, sequence_patterns
from graph.axes.made import Made, tokens

from .entry import Entry


def frozen_parameters():
    """Pruned with the rest, and still without gradients."""
    body = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    body[0].requires_grad_(False)
    body[2].weight.requires_grad_(False)
    return body, (tokens(4),)


def dictionary_of_outputs():
    def forward(m, x):
        y = functional.relu(m.body(x))
        return {"classes": m.classes(y), "boxes": [m.boxes(y), y.mean(-1)]}

    return Made(forward, body=nn.Linear(4, 12), classes=nn.Linear(12, 3), boxes=nn.Linear(12, 4)), (tokens(4),)


@dataclass
class Answer:
    logits: Tensor
    score: Tensor


def dataclass_of_outputs():
    def forward(m, x):
        y = functional.gelu(m.body(x))
        return Answer(m.head(y), m.score(y).sigmoid())

    return Made(forward, body=nn.Linear(4, 12), head=nn.Linear(12, 3), score=nn.Linear(12, 1)), (tokens(4),)


def sizes_in_the_code():
    def forward(m, x):
        return m.down(functional.relu(m.up(x)).view(-1, 5, 3, 4).flatten(2))

    return Made(forward, up=nn.Linear(4, 12), down=nn.Linear(12, 2)), (tokens(4),)


def named_and_optional_inputs():
    def forward(m, x, mask=None, scale=1.0):
        y = functional.relu(m.up(x)) * scale
        return m.down(y if mask is None else y * mask[..., None])

    model = Optional(forward, up=nn.Linear(4, 12), down=nn.Linear(12, 2))
    return model, {"x": tokens(4), "mask": torch.ones(2, 5)}


class Optional(Made):
    """Inputs by name, some left out."""

    def forward(self, x, mask=None, scale=1.0):
        return self.function(self, x, mask, scale)


OWN = (frozen_parameters, dictionary_of_outputs, dataclass_of_outputs, sizes_in_the_code, named_and_optional_inputs)
ENTRIES = tuple(
    Entry(f"pattern/{make.__name__}", partial(make), coarse=True)
    for make in (*image_patterns.ALL, *sequence_patterns.ALL, *OWN)
)
