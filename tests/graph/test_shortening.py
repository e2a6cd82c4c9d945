import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from graph.shallow import IDS, IMAGES, ConvNeXtBlock, GroupedDecoder, PostNorm, ResNet, Transformer, Twice
from laconic.core.errors import UsageError
from laconic.graph import capture, costs
from laconic.graph.blocks import blocks
from laconic.graph.shortening import shorten, shortening_error

MODELS = {
    "pre-norm": (Transformer, IDS),
    "post-norm": (lambda: Transformer(PostNorm), IDS),
    "resnet": (ResNet, IMAGES),
    "convnext": (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), ConvNeXtBlock(8), ConvNeXtBlock(8)), IMAGES),
    "twice": (Twice, torch.randn(3, 4)),
    "grouped": (lambda: nn.Sequential(GroupedDecoder(), nn.Linear(16, 3)), torch.randn(2, 5, 16)),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_two_blocks_go_and_the_rest_computes_what_it_did(name):
    make, x = MODELS[name]
    graph = capture(make().eval(), (x,))
    found = blocks(graph)
    for pair in [*itertools.combinations(found, 1), *itertools.combinations(found, 2)][::3]:
        if len({block.end for block in pair}) == len(pair):
            assert shortening_error(graph, pair, shorten(graph, pair), (x,), {}) < 1e-6


def test_shorter_model_is_what_its_code_would_be_without_the_block():
    model = ResNet().eval()
    graph = capture(model, (IMAGES,))
    shorter = shorten(graph, blocks(graph)[:1])
    with torch.no_grad():
        expected = model.head(model.body[1:](functional.relu(model.stem(IMAGES))).mean((2, 3)))
        torch.testing.assert_close(shorter(IMAGES), expected)


def test_products_and_parameters_vanish_for_real():
    graph = capture(Transformer().eval(), (IDS,))
    (block,) = [block for block in blocks(graph) if block.name == "layers.1"]
    before, after = costs(graph), costs(capture(shorten(graph, [block]), (IDS,)))
    assert before.macs - after.macs == block.macs
    assert before.parameter_count - after.parameter_count == block.parameter_count
    assert not any(name.startswith("layers.1.") for name, _ in shorten(graph, [block]).named_parameters())


def test_shared_layer_stays_until_its_last_call_is_gone():
    graph = capture(Twice(), (torch.randn(3, 4),))
    found = blocks(graph)
    assert "layer.weight" in dict(shorten(graph, found[:1]).named_parameters())
    assert "layer.weight" not in dict(shorten(graph, found).named_parameters())


def test_result_owns_its_tensors_unless_it_is_only_tried():
    model = ResNet().eval()
    graph = capture(model, (IMAGES,))
    removed = blocks(graph)[:1]
    owned, tried = shorten(graph, removed), shorten(graph, removed, share=True)
    assert tried.get_parameter("head.weight") is model.head.weight
    assert owned.get_parameter("head.weight") is not model.head.weight
    owned(IMAGES).sum().backward()
    assert owned.get_parameter("stem.weight").grad is not None and model.stem.weight.grad is None


def test_operators_that_work_in_place_do_not_reach_what_others_read():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = x - 1.0
            y = torch.relu_(self.inner(x) + x)  # Without the branch this must not change x itself.
            return self.head(y) + self.head(x)

    model, x = Shared(), torch.randn(5, 4)
    graph = capture(model, (x,))
    shorter = shorten(graph, blocks(graph)[:1])
    with torch.no_grad():
        expected = model.head(torch.relu(x - 1)) + model.head(x - 1)
        torch.testing.assert_close(shorter(x), expected)


def test_writes_into_a_part_of_a_branch_go_with_the_branch_and_others_stay():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            y = self.inner(x)
            y[:, 0] = 0
            x = x * 2
            z = x + y
            z[:, 1] = 7
            return self.head(z)

    model, x = Masked(), torch.randn(5, 4)
    graph = capture(model, (x,))
    shorter = shorten(graph, blocks(graph)[:1])
    with torch.no_grad():
        expected = 2 * x
        expected[:, 1] = 7
        torch.testing.assert_close(shorter(x), model.head(expected))
    assert "inner.weight" not in dict(shorter.named_parameters())


def test_two_blocks_for_the_same_result_are_refused():
    graph = capture(ResNet().eval(), (IMAGES,))
    both = [block for block in blocks(graph) if block.name.startswith("body.2")]
    with pytest.raises(UsageError, match=r"shorten\.removed: got 'body\.2"):
        shorten(graph, both)


def test_a_wrong_model_shows():
    model = ResNet().eval()
    graph = capture(model, (IMAGES,))
    assert shortening_error(graph, blocks(graph)[:1], model, (IMAGES,), {}) > 1e-3
