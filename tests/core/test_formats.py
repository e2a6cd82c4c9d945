"""Tables of small number formats, against their definitions."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from laconic.core.errors import UsageError
from laconic.core.formats import (
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E5M2,
    KNOWN,
    NF4,
    Format,
    additive_power_of_two,
    logarithmic,
    power_of_two,
)


def test_nf4_values_are_quantiles_of_the_normal_distribution() -> None:
    # Half a step from the tails on either side, halves of 1/32 and 1/30: eight values below zero, eight above.
    reach = 1 - (1 / 32 + 1 / 30) / 2
    above, below = norm.ppf(np.linspace(reach, 0.5, 9)[:-1]), -norm.ppf(np.linspace(reach, 0.5, 8)[:-1])
    expected = np.sort([*above, 0, *below]) / above.max()
    assert np.abs(expected - NF4.values).max() < 2e-7


@pytest.mark.parametrize(
    ("format_", "dtype"), [(FP8_E4M3, torch.float8_e4m3fn), (FP8_E5M2, torch.float8_e5m2)], ids=str
)
def test_eight_bit_floats_have_the_values_that_pytorch_gives_to_all_256_codes(format_, dtype) -> None:
    every = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype).float()
    finite = every[every.isfinite()].unique()
    assert torch.equal(format_.table, finite)


def test_small_floats_end_where_the_microscaling_specification_says() -> None:
    assert FP4_E2M1.values[8:] == (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    assert (FP6_E2M3.values[32], FP6_E2M3.values[-1], len(FP6_E2M3.values)) == (0.125, 7.5, 63)
    assert (FP6_E3M2.values[32], FP6_E3M2.values[-1], len(FP6_E3M2.values)) == (0.0625, 28.0, 63)


def test_powers_of_two_of_four_bits() -> None:
    sizes = [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    assert list(power_of_two(4).values) == [-s for s in reversed(sizes)] + [0, *sizes]


def test_five_bits_of_additive_powers_are_the_published_sums() -> None:
    # Li et al., equation 3 with two terms: {0, 1/2, 1/8, 1/32} + {0, 1/4, 1/16, 1/64}, the largest made 1.
    sums = sorted(a + b for a in (0, 1 / 2, 1 / 8, 1 / 32) for b in (0, 1 / 4, 1 / 16, 1 / 64))
    assert additive_power_of_two(5).values[15:] == pytest.approx([s / 0.75 for s in sums])


def test_four_bits_of_additive_powers() -> None:
    sums = sorted(a + b for a in (0, 1 / 2, 1 / 4, 1 / 16) for b in (0, 1 / 8))
    assert additive_power_of_two(4).values[7:] == pytest.approx([s / 0.625 for s in sums])


def test_logarithmic_values_are_evenly_spaced_in_their_exponents() -> None:
    sizes = np.array(logarithmic(5, steps=3).values[16:])
    assert np.log2(sizes) == pytest.approx(np.arange(-14, 1) / 3)


@pytest.mark.parametrize("format_", KNOWN, ids=str)
def test_every_known_format_fits_its_bits_and_all_but_nf4_are_symmetric(format_: Format) -> None:
    assert torch.equal(format_.table, -format_.table.flip(0)) == (format_ is not NF4)
    assert 2 ** (format_.bits - 1) < len(format_.values) <= 2**format_.bits


def test_names_of_known_formats_differ() -> None:
    assert len({format_.name for format_ in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize(
    "values",
    [
        (1.0,),
        (0.0, 0.0),
        (1.0, 0.5),
        (0.0, float("nan")),
        (0.0, float("inf")),
        tuple(range(257)),
        (0.0, 1e-12),
        (1, 1 + 1e-7),
    ],
    ids=["one", "twice", "descending", "nan", "infinity", "too many", "too small", "too close"],
)
def test_tables_that_cannot_be_coded_are_refused(values) -> None:
    with pytest.raises(UsageError, match=r"Format\(mine\)\.values: got"):
        Format("mine", values)


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda: power_of_two(1), "power_of_two.bits"),
        (lambda: power_of_two(6), "power_of_two.bits"),
        (lambda: additive_power_of_two(2), "additive_power_of_two.bits"),
        (lambda: additive_power_of_two(8), "additive_power_of_two.bits"),
        (lambda: logarithmic(7), "logarithmic.bits"),
        (lambda: logarithmic(4, steps=0), "logarithmic.steps"),
        (lambda: logarithmic(6, steps=0), "logarithmic.steps"),
    ],
)
def test_bits_outside_the_range_are_refused(make, setting: str) -> None:
    with pytest.raises(UsageError, match=rf"^{setting}: got"):
        make()
