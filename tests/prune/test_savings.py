import pytest
import torch
from torch import nn

from graph.axes.patterns import analysed
from laconic.core.errors import UsageError
from laconic.graph import capture, costs
from laconic.graph.axes import axes
from laconic.graph.cutting import cut
from laconic.prune.savings import Savings

PATTERNS = ("plain_cnn", "depthwise", "grouped", "transposed", "lstm", "tied_embedding", "fused_qkv")
PATTERNS += ("rotary_attention", "linear_attention", "mlp_mixer", "mixture_of_experts", "low_rank")


@pytest.mark.parametrize("name", PATTERNS)
def test_amounts_are_those_of_the_model_that_is_really_cut(name):
    _, found, inputs = analysed(name)
    keep = {axis: torch.arange((axis.size + 1) // 2) for axis in found}
    sizes = {axis.atom: len(kept) for axis, kept in keep.items()}
    real = costs(capture(cut(found, keep), inputs))
    assert Savings(found, "macs").amount(sizes) == pytest.approx(real.macs)
    assert Savings(found, "parameters").amount(sizes) == real.parameter_count
    assert Savings(found, "slices").amount(sizes) == sum(sizes.values())


def test_product_with_a_tensor_made_of_parameters_shrinks_with_its_own_dimensions():
    class Relative(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.place, self.head = nn.Linear(6, 12), nn.Linear(8, 12), nn.Linear(9, 2)
            self.places = nn.Parameter(torch.randn(9, 8))

        def forward(self, x):
            return self.head(self.query(x) @ self.place(self.places).T)

    inputs = (torch.randn(2, 5, 6),)
    found = axes(capture(Relative(), inputs))
    keep = {axis: torch.arange(axis.size // 2) for axis in found}
    assert sorted(axis.size for axis in found) == [8, 9, 12]
    real = costs(capture(cut(found, keep), inputs))
    assert Savings(found, "macs").amount({a.atom: len(k) for a, k in keep.items()}) == pytest.approx(real.macs)


def test_gain_is_the_difference_of_amounts():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    first, second = found = axes(capture(model, (torch.randn(2, 3),)))
    savings = Savings(found, "macs")
    others = {second.atom: 4}
    expected = savings.amount(others) - savings.amount({**others, first.atom: 5})
    assert savings.gained(others, {first.atom: 5}) == expected == 3 * (3 + 4)


def test_unknown_measure_is_named():
    with pytest.raises(UsageError, match=r"prune\.of: got 'bytes'"):
        Savings(analysed("plain_cnn")[1], "bytes")
