import json

import pytest
import torch
from torch import Tensor

from core.samples import GRID
from laconic.core.activation_grids import ALL, ActivationGrid, ChannelGrid, Rounding, TokenGrid, grid_from_parts
from laconic.core.edit import RoundActivation
from laconic.core.errors import UsageError
from laconic.core.rounding import round_channels, round_vectors

CHANNELS = ChannelGrid(bits=4, dim=-1, scale=(0.1, 1 / 3, 2.0), zero_point=(0, 8, 15))
GRIDS = [GRID, CHANNELS, TokenGrid(bits=5)]


def vectors_by_hand(values: Tensor, highest: int) -> Tensor:
    """Float64, vector by vector."""
    found = []
    for vector in values.double().reshape(-1, values.shape[-1]):
        low, high = min(float(vector.min()), 0.0), max(float(vector.max()), 0.0)
        step = (high - low) / highest or 1.0
        zero = round(-low / step)
        found.append(
            torch.stack(
                [(max(0, min(highest, round(float(v) / step) + zero)) - zero) * v.new_tensor(step) for v in vector]
            )
        )
    return torch.stack(found).reshape(values.shape)


def test_every_grid_has_a_sample_and_a_name_of_its_own() -> None:
    assert {type(grid) for grid in GRIDS} == set(ALL)
    assert len({grid.kind for grid in GRIDS}) == len(ALL)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.kind)
def test_a_grid_comes_back_from_json_and_tensors(grid: Rounding) -> None:
    edit = RoundActivation("a", "input", grid)
    again = RoundActivation.from_parts(json.loads(json.dumps(edit.config())), edit.tensors())
    assert again == edit
    assert again.grid == grid
    assert str(grid) in str(edit)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.kind)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_twice_is_rounding_once_and_zero_stays(grid: Rounding, dtype: torch.dtype) -> None:
    values = torch.randn(7, 3).to(dtype)
    values[:, 1] = 0
    once = grid.round(values)
    assert once.dtype == dtype
    assert not once[:, 1].any()
    if dtype == torch.float32 and not isinstance(grid, TokenGrid):
        assert torch.equal(grid.round(once), once)


def test_each_channel_is_rounded_to_its_own_grid() -> None:
    values = torch.randn(2, 3, 4, 5) * 3
    grid = ChannelGrid(bits=4, dim=-3, scale=CHANNELS.scale, zero_point=CHANNELS.zero_point)
    rounded = grid.round(values)
    for channel, (scale, zero) in enumerate(zip(grid.scale, grid.zero_point, strict=True)):
        alone = ActivationGrid(bits=4, scale=scale, zero_point=zero).round(values[:, channel])
        torch.testing.assert_close(rounded[:, channel], alone, rtol=1e-6, atol=0)


def test_each_vector_spans_its_own_range() -> None:
    values = torch.randn(3, 2, 6) * torch.logspace(-3, 3, 6).reshape(3, 2, 1)
    torch.testing.assert_close(TokenGrid(bits=4).round(values).double(), vectors_by_hand(values, 15), rtol=1e-5, atol=0)


def test_a_vector_of_one_sign_keeps_zero_and_its_largest_value() -> None:
    rounded = TokenGrid(bits=2).round(torch.tensor([[3.0, 4.4, 9.0], [-3.0, -4.4, -9.0], [0.0, 0.0, 0.0]]))
    assert rounded.tolist() == [[3, 3, 9], [-3, -3, -9], [0, 0, 0]]


def test_gradients_pass_inside_the_range_and_for_vectors_everywhere() -> None:
    values = torch.tensor([[0.5, 1.0, 0.0], [2.0, -9.0, -31.0]], requires_grad=True)
    CHANNELS.round(values).sum().backward()
    assert values.grad.tolist() == [[1, 1, 1], [0, 0, 0]]
    values.grad = None
    TokenGrid(bits=2).round(values).sum().backward()
    assert values.grad.tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("shape", [(2, 3), (4, 2, 3), (0, 3)])
def test_the_operators_are_registered_right(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, requires_grad=True)
    torch.library.opcheck(round_channels, (values, list(CHANNELS.scale), list(CHANNELS.zero_point), -1, 15))
    torch.library.opcheck(round_vectors, (values, 15))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 9}, r"ChannelGrid.bits: got 9"),
        ({"dim": 1}, r"ChannelGrid.dim: got 1; expected a negative number"),
        ({"scale": (1.0, 0.0, 1.0)}, r"ChannelGrid.scale: got 0.0; expected a positive number"),
        ({"zero_point": (0, 0, 16)}, r"ChannelGrid.zero_point: got 16; expected a whole number from 0 to 15"),
        ({"scale": (1.0,)}, r"ChannelGrid: got '1 scales and 3 zero points'"),
    ],
)
def test_impossible_grids_of_channels_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ChannelGrid(**{"bits": 4, "dim": -1, "scale": (1.0, 1.0, 1.0), "zero_point": (0, 0, 0), **settings})


def test_other_impossible_grids_are_refused() -> None:
    with pytest.raises(UsageError, match=r"TokenGrid.bits: got 1"):
        TokenGrid(bits=1)
    with pytest.raises(UsageError, match=r"RoundActivation.per: got 'row'; expected one of tensor, channel, token"):
        grid_from_parts({"per": "row"}, {})
    with pytest.raises(UsageError, match=r"expected 3 channels in dimension -1"):
        CHANNELS.round(torch.zeros(3, 2))
