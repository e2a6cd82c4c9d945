"""A format's values times a scale a block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.blocks import Blocks
from laconic.core.codings import ValueGrid
from laconic.core.errors import UsageError
from laconic.core.formats import BINARY, FP4_E2M1, FP8_E4M3, KNOWN, NF4, TERNARY, Format


def grid(weight: torch.Tensor, format_: Format, scale: torch.Tensor, **blocks) -> ValueGrid:
    return ValueGrid.fit(weight, format=format_, blocks=Blocks(shape=tuple(weight.shape), **blocks), scale=scale)


def test_a_hand_worked_row() -> None:
    weight = torch.tensor([[0.9, -0.24, 0.26, 2.6, -9.0]])
    coding = grid(weight, FP4_E2M1, torch.tensor([0.5]), axis=0)
    # In halves: 1.8, -0.48, 0.52, 5.2, -18; the nearest of 0, .5, 1, 1.5, 2, 3, 4, 6 are 2, -.5, .5, 6, -6.
    assert coding.decode().tolist() == [[1.0, -0.25, 0.25, 3.0, -3.0]]
    # Places in the ascending table of 15 values, zero in the middle, at 7.
    assert coding.integers().tolist() == [[11, 6, 8, 14, 0]]


def test_exponents_are_those_of_e8m0() -> None:
    coding = grid(torch.tensor([[0.3], [5.0]]), BINARY, torch.tensor([126, 129], dtype=torch.uint8), axis=0)
    assert coding.decode().tolist() == [[0.5], [4.0]]


@given(
    format_=st.sampled_from(KNOWN),
    scale=st.floats(1e-3, 1e3),
    half=st.booleans(),
    rows=st.integers(1, 4),
    columns=st.integers(1, 9),
    seed=st.integers(0, 999),
)
def test_every_element_is_the_nearest_of_its_blocks_values(format_, scale, half, rows, columns, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * scale * format_.values[-1]
    scales = (torch.rand(rows, generator=generator) + 0.5) * scale
    coding = grid(weight, format_, scales.half() if half else scales, axis=0)
    values = coding.steps[:, None].double() * format_.table.double()
    least = (weight.double()[:, :, None] - values[:, None, :]).abs().amin(2)
    slack = 1e-6 * weight.abs().double()
    assert ((coding.decode().double() - weight.double()).abs() <= least + slack).all()


@pytest.mark.parametrize(("format_", "bits"), [(BINARY, 1), (TERNARY, 2), (NF4, 4), (FP8_E4M3, 8)], ids=str)
def test_codes_take_as_many_bits_as_the_values_need(format_: Format, bits: int) -> None:
    coding = grid(torch.randn(8, 64), format_, torch.ones(8).half(), axis=0)
    assert coding.size_bytes == 8 * 64 * bits // 8 + 8 * 2
    assert coding.coded == ("codes", bits, None, 1)


def test_a_table_of_ones_own_is_stored_with_the_codes_and_a_known_one_is_not() -> None:
    mine = Format("nf4", (-1.0, 0.25, 0.5, 3.0))  # a known name does not make it known
    weight = torch.randn(4, 8)
    coding = grid(weight, mine, torch.ones(4), axis=0)
    assert coding.size_bytes == 8 + 16 + 16
    again = ValueGrid.from_parts(coding.config(), coding.tensors())
    assert torch.equal(again.decode(), coding.decode())
    assert "values" not in grid(weight, NF4, torch.ones(4), axis=0).tensors()


@pytest.mark.parametrize(
    ("scale", "setting"),
    [
        (torch.ones(3), "scale"),
        (torch.zeros(2), "scale"),
        (torch.tensor([1.0, -1.0]), "scale"),
        (torch.tensor([1.0, torch.nan]), "scale"),
        (torch.tensor([1.0, torch.inf]), "scale"),
        (torch.ones(2, dtype=torch.float64), "scale"),
        (torch.tensor([127, 255], dtype=torch.uint8), "scale"),
        (torch.tensor([127, 0], dtype=torch.uint8), "scale"),
    ],
)
def test_scales_outside_their_domain_are_refused(scale: torch.Tensor, setting: str) -> None:
    with pytest.raises(UsageError, match=rf"^ValueGrid\.{setting}: got"):
        grid(torch.randn(2, 4), NF4, scale, axis=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    coding = grid(torch.randn(2, 4), NF4, torch.ones(2), axis=0)
    with pytest.raises(UsageError, match=r"^ValueGrid\.encode: got .a weight with NaN"):
        coding.encode(torch.full((2, 4), bad))


def test_a_format_that_nobody_knows_is_refused_by_name() -> None:
    coding = grid(torch.randn(2, 4), NF4, torch.ones(2), axis=0)
    with pytest.raises(UsageError, match=r"^ValueGrid\.format: got 'nf5'; expected one of nf4, "):
        ValueGrid.from_parts(coding.config() | {"format": "nf5"}, coding.tensors())
