import pytest
import torch
from torch import nn

from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.choice import Candidates, choose
from laconic.prune.importance import Removal
from laconic.prune.limits import Limits, Rounding
from laconic.prune.savings import Savings


def candidates(prices, of="slices", **limits):
    """Two axes of 4 and 8 neurons."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    found = axes(capture(model, (torch.randn(2, 3),)))
    removals = {axis: Removal.by(torch.tensor(given)) for axis, given in zip(found, prices, strict=True)}
    return list(found), Candidates(removals=removals, savings=Savings(found, of), **limits)


RISING = [1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]


def test_removal_orders_by_score_and_equal_ones_by_index():
    removal = Removal.by(torch.tensor([3.0, 1.0, 3.0, 0.5]))
    assert removal.order.tolist() == [3, 1, 0, 2] and removal.price.tolist() == [0.5, 1.0, 3.0, 3.0]


def test_cheapest_slices_of_all_axes_go_first():
    (first, second), given = candidates(RISING)
    assert choose(given, 0.5, "global") == {first.atom: 1, second.atom: 5}


def test_cheap_saving_is_preferred_to_cheap_price():
    (first, _), given = candidates(([1.0] * 4, [0.9] * 8), of="macs")
    assert choose(given, 22 / 60, "global") == {first.atom: 2}


def test_step_that_saves_too_much_waits_for_smaller_ones():
    (first, second), given = candidates(([0.1] * 4, [1.0] * 8), of="macs")
    sizes = choose(given, 0.5, "global")
    assert sizes == {first.atom: 2, second.atom: 6} and given.savings.amount(sizes) == given.savings.total / 2


@pytest.mark.parametrize(("ratio", "left"), [(0.5, 1), (0.2, 3)])
def test_last_step_saves_too_much_if_that_is_nearer(ratio, left):
    (first, _), given = candidates(([0.1] * 4, [torch.inf] * 8), of="macs")
    assert choose(given, ratio, "global") == {first.atom: left}


def test_every_axis_loses_the_same_fraction():
    (first, second), given = candidates(RISING)
    assert choose(given, 0.5, "layer") == {first.atom: 2, second.atom: 4}


def test_kept_indices_are_the_most_expensive_ascending():
    (first, _), given = candidates(([2.0, 9.0, 1.0, 8.0], [1.0] * 8))
    kept = given.kept({first.atom: 2})
    assert list(kept) == [first] and kept[first].tolist() == [1, 3]


def test_infinite_prices_and_limits_are_floors():
    (first, second), given = candidates(([1.0, 1.0, torch.inf, torch.inf], [1.0] * 8), limits=Limits(least=0.7))
    assert (given.floor(first), given.floor(second)) == (3, 6)
    (first, _), given = candidates(([1.0, torch.inf, torch.inf, torch.inf], [1.0] * 8))
    assert given.floor(first) == 3


@pytest.mark.parametrize("scope", ["global", "layer", "kind"])
def test_sizes_are_multiples_and_never_zero(scope):
    axes_, given = candidates(RISING, limits=Limits(rounding=Rounding(multiple=2)))
    sizes = choose(given, 0.99, scope)
    assert all(sizes[axis.atom] >= 2 and sizes[axis.atom] % 2 == 0 for axis in axes_)
