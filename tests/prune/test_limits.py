import pytest
import torch
from torch import nn

from laconic.core.errors import ModelError, UsageError
from laconic.core.target import Target
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.limits import CPU, Limits, Rounding, free_axes, least_for, rounding_for


@pytest.fixture(scope="module")
def found():
    model = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 2))
    return axes(capture(model, (torch.randn(2, 3),)))


def test_sizes_below_are_multiples():
    assert [Rounding(multiple=8).below(size) for size in (17, 16, 9, 8, 3)] == [16, 8, 8, 0, 0]
    assert [Rounding().below(size) for size in (3, 2, 1)] == [2, 1, 0]


def test_narrow_sizes_have_a_multiple_of_their_own():
    assert [CPU.below(size) for size in (50, 48, 17, 16, 15, 5, 4)] == [48, 32, 16, 12, 12, 4, 0]


def test_the_users_rounding_comes_before_the_targets():
    assert rounding_for(Target(), 5) == Rounding(multiple=5)
    assert rounding_for(Target(), None) == CPU and rounding_for(None, None) == Rounding()


def test_whole_units_are_not_rounded(found):
    class Heads:
        kind = "heads"

    assert Limits(rounding=CPU).below(Heads(), 12) == 11


def test_the_largest_of_several_fractions_counts(found):
    wide, narrow = found.axes
    assert least_for(found, 0.25) == {wide: 0.25, narrow: 0.25}
    assert least_for(found, {"0.*": 0.5, "*.weight": 0.75, "4.*": 0.1}) == {wide: 0.75, narrow: 0.75}
    assert least_for(found, {"0.*": 0.5}) == {wide: 0.5, narrow: 0.0}


def test_axes_are_kept_by_name(found):
    wide, narrow = found.axes
    assert free_axes(found, ["4.*"]) == [wide] and free_axes(found, []) == [wide, narrow]
    with pytest.raises(ModelError, match="all are kept by name"):
        free_axes(found, ["0.weight", "4.weight"])


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda found: least_for(found, 1.0), r"prune\.least: got 1.0"),
        (lambda found: least_for(found, {"0.*": 2.0}), r"prune\.least\['0\.\*'\]: got 2.0"),
        (lambda found: least_for(found, {"9.*": 0.5}), r"prune\.least: got '9\.\*'"),
        (lambda found: free_axes(found, ["0.weigth"]), r"prune\.keep: got '0.weigth'.*0\.weight"),
        (lambda found: rounding_for(None, 0), r"prune\.round_to: got 0"),
        (lambda found: Rounding(multiple=16, narrow=0), r"Rounding\.narrow: got|Rounding\.multiple: got"),
    ],
)
def test_bad_limits_are_named(call, where, found):
    with pytest.raises(UsageError, match=where):
        call(found)
