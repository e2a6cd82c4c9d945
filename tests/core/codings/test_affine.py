import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.samples import asymmetric, symmetric
from laconic.core.blocks import Blocks
from laconic.core.codings import AffineGrid
from laconic.core.errors import UsageError

FLAT = Blocks(shape=(4,))


@st.composite
def grids(draw: st.DrawFn) -> tuple[AffineGrid, Tensor]:
    """A grid of free form, sign and magnitude, and the weight it was fitted to."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    blocks = Blocks(shape=shape, axis=axis, group_size=None if axis is None else draw(st.none() | st.integers(1, 6)))
    bits, seed = draw(st.integers(2, 8)), draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (6 * torch.rand(blocks.count, generator=generator) - 3)
    if draw(st.booleans()):
        scale = scale * (1 - 2 * torch.randint(2, (blocks.count,), generator=generator))
    zero = torch.randint(2**bits, (blocks.count,), generator=generator) if draw(st.booleans()) else None
    weight = blocks.join(torch.randn(blocks.count, blocks.length, generator=generator) * scale[:, None] * 2**bits / 3)
    weight = weight.to(draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16])))
    weight = weight.nan_to_num(posinf=6e4, neginf=-6e4)
    return AffineGrid.fit(weight, bits=bits, blocks=blocks, scale=scale, zero_point=zero), weight


def reference(grid: AffineGrid) -> tuple[Tensor, Tensor]:
    """All values of every block's grid, `[count, 2**bits]`, and the step `[count, 1]`, in float64."""
    lowest = -(2 ** (grid.bits - 1)) if grid.zero_point is None else 0
    codes = torch.arange(lowest, lowest + 2**grid.bits, dtype=torch.float64)
    zero = torch.zeros(grid.blocks.count) if grid.zero_point is None else grid.zero_point
    scale = grid.scale.double()[:, None]
    return scale * (codes - zero.double()[:, None]), scale.abs()


@given(drawn=grids())
def test_a_weight_inside_the_range_moves_by_at_most_half_a_step(drawn: tuple[AffineGrid, Tensor]) -> None:
    grid, weight = drawn
    values, step = reference(grid)
    exact, decoded = grid.blocks.split(weight.double()), grid.blocks.split(grid.decode().double())
    inside = (exact >= values.amin(1, keepdim=True)) & (exact <= values.amax(1, keepdim=True))
    slack = torch.finfo(torch.float32).eps * values.abs().amax(1, keepdim=True)
    assert ((decoded - exact).abs() <= step / 2 + slack)[inside].all()


@given(drawn=grids())
def test_every_weight_goes_to_the_nearest_value_of_the_grid(drawn: tuple[AffineGrid, Tensor]) -> None:
    grid, weight = drawn
    values, _ = reference(grid)
    exact, decoded = grid.blocks.split(weight.double()), grid.blocks.split(grid.decode().double())
    nearest = (exact[:, :, None] - values[:, None, :]).abs().amin(2)
    slack = 2 * torch.finfo(torch.float32).eps * (values.abs().amax(1, keepdim=True) + exact.abs())
    assert ((decoded - exact).abs() <= nearest + slack).all()


@given(drawn=grids())
def test_zero_is_exact(drawn: tuple[AffineGrid, Tensor]) -> None:
    grid, weight = drawn
    assert (grid.encode(torch.zeros_like(weight)).decode() == 0).all()


@given(drawn=grids())
def test_integers_are_what_the_formula_says(drawn: tuple[AffineGrid, Tensor]) -> None:
    grid, _ = drawn
    zero = torch.zeros(grid.blocks.count) if grid.zero_point is None else grid.zero_point
    codes = grid.blocks.split(grid.integers().double())
    by_hand = grid.blocks.join(grid.scale.double()[:, None] * (codes - zero.double()[:, None]))
    assert torch.allclose(grid.decode().double(), by_hand, rtol=2**-23, atol=0)
    lowest = 0 if grid.zero_point is not None else -(2 ** (grid.bits - 1))
    assert (
        grid.integers().numel() == 0 or lowest <= grid.integers().min() <= grid.integers().max() < lowest + 2**grid.bits
    )


def test_a_worked_example() -> None:
    weight = torch.tensor([-1.0, -0.26, 0.24, 0.9])
    grid = AffineGrid.fit(weight, bits=3, blocks=FLAT, scale=torch.tensor([0.25]), zero_point=None)
    assert grid.integers().tolist() == [-4, -1, 1, 3]
    assert grid.decode().tolist() == [-1.0, -0.25, 0.25, 0.75]
    assert grid.codes.tolist() == [0b01_011_000, 0b111_1]  # 0, 3, 5 and 7 from the lowest bit on


def test_a_negative_scale_turns_the_extra_level_to_the_positive_side() -> None:
    weight = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    grid = AffineGrid.fit(weight, bits=2, blocks=FLAT, scale=torch.tensor([-0.5]), zero_point=None)
    assert grid.decode().tolist() == [-0.5, 0.0, 0.5, 1.0]


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_take_their_bits_and_no_more(bits: int) -> None:
    grid = symmetric(torch.randn(7, 9), bits)
    assert grid.codes.numel() == -(-7 * 9 * bits // 8)
    assert grid.size_bytes == grid.codes.numel() + 7 * 4
    assert asymmetric(torch.randn(7, 9), bits).size_bytes == grid.codes.numel() + 7 * 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bits": 1}, "AffineGrid.bits: got 1; expected a whole number from 2 to 8"),
        ({"bits": 9}, "AffineGrid.bits: got 9"),
        ({"scale": torch.ones(2)}, r"AffineGrid.scale: got \[2\]; expected the shape \[1\]"),
        ({"scale": torch.zeros(1)}, "AffineGrid.scale: got 0.0; expected finite numbers that are not zero"),
        ({"scale": torch.tensor([torch.inf])}, "AffineGrid.scale: got inf"),
        ({"zero_point": torch.zeros(3)}, r"AffineGrid.zero_point: got \[3\]; expected the shape \[1\]"),
        (
            {"weight": torch.tensor([0.0, torch.nan, 1.0, 1.0])},
            "AffineGrid.encode: got 'a weight with NaN or infinity'",
        ),
    ],
)
def test_what_cannot_be_a_grid_is_refused(changed: dict[str, object], message: str) -> None:
    settings = {"weight": torch.ones(4), "bits": 4, "blocks": FLAT, "scale": torch.ones(1), "zero_point": None}
    settings.update(changed)
    with pytest.raises(UsageError, match=message):
        AffineGrid.fit(settings.pop("weight"), **settings)


def test_codes_of_another_length_are_refused() -> None:
    grid = symmetric(torch.ones(4), 4)
    with pytest.raises(UsageError, match=r"AffineGrid.codes: got \[1\]; expected the shape \[2\]"):
        AffineGrid.from_parts(grid.config(), {**grid.tensors(), "codes": grid.codes[:1]})


def test_projecting_a_half_precision_weight_gives_float32() -> None:
    grid = symmetric(torch.randn(3, 4))
    assert grid.project(torch.randn(3, 4).bfloat16()).dtype == torch.float32


def test_a_grid_says_what_it_is() -> None:
    assert str(symmetric(torch.ones(2, 4), 4, 0, 2)) == "4-bit symmetric grid per group of 2"
    assert str(asymmetric(torch.ones(2, 4), 8, None)) == "8-bit asymmetric grid per tensor"
