import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.calibrate import Histogram

numbers = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-2, 2, width=32)
samples = st.lists(numbers, min_size=1, max_size=40).map(torch.tensor)


def same(one: Histogram, other: Histogram) -> bool:
    return one.config() == other.config() and torch.equal(one.counts, other.counts)


@given(samples, samples)
def test_merging_equals_one_pass_exactly_in_any_order(one: Tensor, other: Tensor) -> None:
    together = Histogram.of(torch.cat((one, other)))
    assert same(Histogram.of(one) + Histogram.of(other), together)
    assert same(Histogram.of(other) + Histogram.of(one), together)


@given(samples)
def test_every_value_is_counted_in_the_bin_that_holds_it(values: Tensor) -> None:
    histogram = Histogram.of(values)
    expected = torch.zeros(2048, dtype=torch.int64)
    for value in values.tolist():
        expected[math.floor(value / histogram.width) - histogram.start] += 1
    assert torch.equal(histogram.counts, expected)
    assert histogram.low <= histogram.minimum == float(values.min())
    assert histogram.high > histogram.maximum == float(values.max())


def test_bins_are_narrow_enough_to_fill_at_least_half() -> None:
    histogram = Histogram.of(torch.linspace(-1, 3, 100_000))
    held = histogram.counts.nonzero()
    assert held.max() - held.min() >= 1023
    assert histogram.width == 2**-9 or histogram.width == 2**-8


def test_centres_lie_in_the_middle_of_bins() -> None:
    histogram = Histogram.of(torch.tensor([0.0, 2047.0]))
    assert (histogram.width, histogram.low, histogram.high) == (1, 0, 2048)
    assert histogram.centres[:3].tolist() == [0.5, 1.5, 2.5]


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-38, 3e38, 1e-42])
def test_equal_values_fall_in_one_bin(value: float) -> None:
    histogram = Histogram.of(torch.full((7,), value))
    assert histogram.counts.max() == 7
    assert histogram.minimum == histogram.maximum == float(torch.tensor(value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_counted_too(dtype: torch.dtype) -> None:
    values = torch.randn(100).to(dtype)
    assert same(Histogram.of(values), Histogram.of(values.double()))


def test_it_is_read_back_as_it_was() -> None:
    histogram = Histogram.of(torch.randn(1000))
    assert same(Histogram.from_parts(histogram.config(), histogram.counts), histogram)
