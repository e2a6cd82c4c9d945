import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.quantize.ranges import ALL, LeastError, MinMax, Percentile, spanning


def squared(delta: torch.Tensor) -> torch.Tensor:
    return delta.square().sum(1)


def choose(range_, values, mass=None, *, bits=4, symmetric=True, error=squared):
    mass = torch.ones_like(values) if mass is None else mass
    return range_.choose(values, mass, error, bits=bits, symmetric=symmetric)


def error_of(steps, values, bits):
    return squared(steps.round(values, bits) - values)


def test_min_max_of_a_known_block_is_the_hand_worked_grid():
    values = torch.tensor([[-7.0, 3.5, 0.0, 6.0]])
    signed = choose(MinMax(), values, bits=4)
    # -8 s <= -7 and 6 <= 7 s give s = 7/8; the turned grid would need s = 1.
    assert signed.scale.tolist() == [0.875] and signed.zero_point is None
    unsigned = choose(MinMax(), values, bits=4, symmetric=False)
    assert unsigned.scale.item() == pytest.approx(13 / 15)
    assert unsigned.zero_point.tolist() == [8.0]


@given(
    low=st.floats(-1e4, 0, width=32),
    high=st.floats(0, 1e4, width=32),
    bits=st.integers(2, 8),
    symmetric=st.booleans(),
    flipped=st.sampled_from([None, False, True]),
)
def test_a_spanning_grid_reaches_both_ends_and_holds_zero(low, high, bits, symmetric, flipped):
    steps = spanning(torch.tensor([low]), torch.tensor([high]), bits=bits, symmetric=symmetric, flipped=flipped)
    ends = torch.tensor([[low, high, 0.0]])
    rounded = steps.round(ends, bits)
    # An unsigned grid's zero point is rounded too, which may move one end by up to half a step.
    slack = (0.5 if symmetric else 1.0) * steps.scale.abs().item() * (1 + 1e-5)
    assert (rounded - ends).abs().max().item() <= slack
    assert rounded[0, 2].item() == 0.0


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_least_error_is_never_above_that_of_min_max(bits, symmetric):
    values = torch.randn(16, 50, generator=torch.Generator().manual_seed(0)).pow(3)
    searched = error_of(choose(LeastError(), values, bits=bits, symmetric=symmetric), values, bits)
    plain = error_of(choose(MinMax(), values, bits=bits, symmetric=symmetric), values, bits)
    assert (searched <= plain).all()
    if bits <= 4:
        assert searched.sum() < plain.sum()


def test_the_least_error_is_near_that_of_an_exhaustive_search():
    values = torch.randn(4, 200, generator=torch.Generator().manual_seed(1)).double()
    found = error_of(choose(LeastError(candidates=80, narrowest=0.2), values, bits=3), values, 3)
    scales = torch.linspace(0.05, 2, 4000, dtype=torch.double)
    best = torch.full((4,), torch.inf, dtype=torch.double)
    for scale in (*scales, *-scales):
        codes = (values / scale).round().clamp(-4, 3)
        best = torch.minimum(best, (codes * scale - values).square().sum(1))
    assert (found <= 1.02 * best).all()


def test_a_percentile_leaves_out_the_same_mass_on_both_sides():
    values = torch.arange(-50.0, 51.0)[None]
    steps = choose(Percentile(percent=90), values, bits=8, symmetric=False)
    rounded = steps.round(values, 8)
    assert rounded.min().item() == pytest.approx(-45, abs=0.5)
    assert rounded.max().item() == pytest.approx(45, abs=0.5)


def test_mass_counts_like_repeated_samples():
    values, mass = torch.tensor([[-3.0, -1.0, 0.5, 2.0, 90.0]]), torch.tensor([[5.0, 90.0, 400.0, 300.0, 1.0]])
    repeated = torch.repeat_interleave(values[0], mass[0].long())[None]
    for range_ in (MinMax(), Percentile(percent=99)):
        one, other = choose(range_, values, mass, bits=8), choose(range_, repeated, bits=8)
        assert torch.equal(one.scale, other.scale)


def test_values_without_mass_do_not_count():
    values, mass = torch.tensor([[-1.0, 1.0, 1000.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert choose(MinMax(), values, mass, bits=8).scale.abs().item() < 0.01


@pytest.mark.parametrize("range_type", ALL)
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_block_of_zeros_stays_zero(range_type, symmetric):
    values = torch.zeros(2, 5)
    steps = choose(range_type(), values, symmetric=symmetric)
    assert torch.equal(steps.round(values, 4), values)
    assert (steps.scale != 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Percentile(percent=0),
        lambda: Percentile(percent=101),
        lambda: LeastError(candidates=0),
        lambda: LeastError(narrowest=0),
    ],
)
def test_settings_outside_their_domain_are_refused(wrong):
    with pytest.raises(UsageError, match=r"quantize\..*expected"):
        wrong()
