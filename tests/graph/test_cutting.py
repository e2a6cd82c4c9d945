import pytest
import torch
from torch import nn

from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error

from .axes.patterns import PATTERNS, analysed


def test_original_stays_as_it_is():
    model, found, inputs = analysed("plain_cnn")
    before = [p.clone() for p in model.parameters()]
    expected = found.graph.program.module()(*inputs)
    cut(found, {axis: torch.arange(1) for axis in found})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(found.graph.program.module()(*inputs), expected)


def test_training_the_cut_model_leaves_the_original_alone():
    model, found, _ = analysed("plain_cnn")
    before = [p.clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter in cut(found, {found.axes[0]: torch.arange(2)}).parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_cut_model_takes_any_batch_size():
    _, found, (x,) = analysed("transformer_layer")
    smaller = cut(found, {axis: torch.arange(axis.size // 2) for axis in found})
    assert smaller(torch.cat([x, x, x])).shape == (6, 5, 2)


def test_every_parameter_of_the_cut_model_gets_a_gradient():
    _, found, inputs = analysed("plain_cnn")
    smaller = cut(found, {axis: torch.arange(2) for axis in found})
    smaller(*inputs).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in smaller.parameters())


def test_ties_and_frozen_parameters_survive():
    model, inputs = PATTERNS["tied_embedding"]()
    model.embed.weight.requires_grad_(False)
    found = axes(capture(model, inputs))
    smaller = cut(found, {found["embed.weight[1]"]: torch.arange(3)})
    assert smaller.embed.weight.shape == (9, 3)
    assert not smaller.embed.weight.requires_grad and smaller.up.weight.requires_grad


def test_nothing_cut_is_the_same_model():
    model, found, inputs = analysed("window_attention")
    torch.testing.assert_close(cut(found, {})(*inputs), model(*inputs))


def test_scale_of_attention_stays_that_of_the_original_width():
    _, found, _ = analysed("native_grouped_query_attention")
    width = next(a for a in found if a.kind == "head width" and len(a.slices) == 4)
    smaller = cut(found, {width: torch.arange(2)})
    (attention,) = (n for n in smaller.graph.nodes if "attention" in str(n.target))
    assert attention.kwargs["scale"] == 4**-0.5


def test_cut_model_can_be_captured_and_cut_again():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    found = axes(capture(model, (x,)))
    once = cut(found, {found["0.weight[0]"]: torch.arange(6)})
    again = axes(capture(once, (x,)))
    twice = cut(again, {again["0.weight[0]"]: torch.tensor([0, 2])})
    both = cut(found, {found["0.weight[0]"]: torch.tensor([0, 2])})
    torch.testing.assert_close(twice(x), both(x))


class ScoresByDistance(nn.Module):
    """Attention with heads folded into the batch, whose scores are looked up by distance, as in DeBERTa."""

    def __init__(self):
        super().__init__()
        self.query, self.out = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        batch, length, _ = x.shape
        folded = self.query(x).view(batch, length, 4, 2).transpose(1, 2).reshape(-1, length, 2)
        places = torch.arange(length)
        distances = (places[:, None] - places[None, :]).abs()[None]
        scores = folded @ folded.transpose(1, 2)
        scores = scores + scores.gather(2, distances.expand(folded.size(0), length, length))
        mixed = (scores.softmax(-1) @ folded).view(-1, 4, length, 2).transpose(1, 2)
        return self.out(mixed.reshape(batch, length, 8))


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_sizes_of_heads_times_batch_stay_multiples_of_the_batch(heads):
    torch.manual_seed(0)
    x, model = torch.randn(3, 5, 8), ScoresByDistance().double().eval()
    found = axes(capture(model, (x.double(),)))
    (axis,) = (axis for axis in found if axis.kind == "heads")
    keep = {axis: torch.arange(heads)}
    smaller = cut(found, keep)
    for inputs in (x.double(), x.double()[:2]):
        assert cut_error(found, keep, smaller, (inputs,), {}) < 1e-12


class GroupsForHeads(nn.Module):
    """Groups that several heads share, repeated to a number of heads that is written down, as in Mamba-2."""

    def __init__(self):
        super().__init__()
        self.groups, self.heads, self.out = nn.Linear(6, 2 * 3), nn.Linear(6, 4 * 3), nn.Linear(12, 2)

    def forward(self, x):
        states = self.groups(x).view(-1, 2, 3).repeat_interleave(2, dim=1, output_size=4)
        return self.out((self.heads(x).view(-1, 4, 3) * states).flatten(1))


def test_written_sizes_of_repeated_groups_shrink_with_them():
    torch.manual_seed(0)
    x, model = torch.randn(5, 6), GroupsForHeads().eval()
    found = axes(capture(model, (x,)))
    assert len(found) >= 2
    for axis in found:
        keep = {axis: torch.arange(1)}
        assert cut_error(found, keep, cut(found, keep), (x,), {}) < 1e-6
