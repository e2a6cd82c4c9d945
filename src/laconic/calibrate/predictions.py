"""What a model's logits say as distributions, and how an answer drawn from them would pull at them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from laconic.core.metric import IGNORED_LABEL, class_last


class Pull(NamedTuple):
    """The gradient of the sum of `-log p(drawn answer)` at the logits, and the number of predictions."""

    error: Tensor
    predictions: int


def pull(logits: Tensor, labels: Tensor | None, generator: torch.Generator, *, regression: bool) -> Pull:
    """Draws an answer for every prediction from the model's own distribution.

    That is a Gaussian of variance 1 around each output of a regression; a softmax over the classes of a classifier; or,
    for logits that stand alone or have labels of their own shape, a yes or no for each.

    Args:
        logits: `[samples, ...]`, without NaN.
        labels: only their shape, and where they are -100, matter; None: the last dimension counts the classes.
        generator: on the logits' device.
        regression: the outputs are values.

    Returns:
        The error is zero at predictions whose label is -100; they are not counted.
    """
    values = logits.detach().float()
    if regression:
        error, predictions = torch.randn(values.shape, generator=generator, device=values.device), values.numel()
    elif values.dim() == 1 or values.shape[-1] == 1 or (labels is not None and labels.shape == values.shape):
        error, predictions = _of_yes_or_no(values, labels, generator)
    else:
        error, predictions = _of_classes(values, labels, generator)
    return Pull(error.to(logits.dtype), predictions)


def _of_yes_or_no(logits: Tensor, labels: Tensor | None, generator: torch.Generator) -> Pull:
    chance = logits.sigmoid()
    counted = _counted(labels, logits)
    return Pull((chance - torch.bernoulli(chance, generator=generator)) * counted, int(counted.sum()))


def _of_classes(logits: Tensor, labels: Tensor | None, generator: torch.Generator) -> Pull:
    located = labels is not None and labels.dim() == logits.dim() - 1
    rows = class_last(logits, labels) if labels is not None and located else logits
    chance = rows.softmax(-1)
    counted = _counted(labels, rows[..., 0])
    drawn = torch.multinomial(chance.flatten(0, -2), 1, generator=generator).reshape(*counted.shape, 1)
    error = chance.scatter_add(-1, drawn, torch.full_like(chance[..., :1], -1)) * counted[..., None]
    return Pull(error if rows is logits else error.movedim(-1, 1), int(counted.sum()))


def _counted(labels: Tensor | None, predictions: Tensor) -> Tensor:
    if labels is None or labels.shape != predictions.shape:
        return torch.ones_like(predictions, dtype=torch.bool)
    return labels != IGNORED_LABEL
