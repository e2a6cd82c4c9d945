import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.rounding import round_to_grid

SCALE, ZERO, HIGHEST = 0.1, 10, 255


def reference(values: Tensor, scale: float, zero_point: int, highest: int) -> Tensor:
    codes = torch.round(values.double() / scale + zero_point).clamp(0, highest)
    return scale * (codes - zero_point)


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(3, 4),
        torch.randn(3, 4).t(),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(4, 6)[:, ::2],
        torch.randn(0, 3),
        torch.randn(()),
    ],
    ids=["plain", "transposed", "channels last", "strided", "empty", "scalar"],
)
def test_the_operator_is_registered_right(values: Tensor) -> None:
    torch.library.opcheck(round_to_grid, (values.detach().requires_grad_(), SCALE, ZERO, HIGHEST))


@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32), max_size=20),
    scale=st.floats(1e-3, 1e2),
    bits=st.integers(2, 8),
    data=st.data(),
)
def test_values_are_those_of_a_float64_reference(
    values: list[float], scale: float, bits: int, data: st.DataObject
) -> None:
    zero_point = data.draw(st.integers(0, 2**bits - 1))
    given_values = torch.tensor(values, dtype=torch.float32)
    rounded = round_to_grid(given_values, scale, zero_point, 2**bits - 1).double()
    exact = reference(given_values, scale, zero_point, 2**bits - 1)
    # Halfway between two values float32 may go to the other one; both are then half a step away.
    halfway = ((given_values.double() / scale) % 1 - 0.5).abs() < 1e-3
    assert torch.allclose(rounded[~halfway], exact[~halfway], rtol=1e-6, atol=0)
    assert ((rounded - exact).abs() <= scale * 1.001).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_floating_type_is_rounded_in_its_own_type(dtype: torch.dtype) -> None:
    values = torch.linspace(-3, 30, 50).to(dtype)
    rounded = round_to_grid(values, 0.125, 8, 255)
    assert rounded.dtype == dtype
    assert torch.equal(rounded.double(), reference(values, 0.125, 8, 255))


def test_rounding_makes_a_new_tensor() -> None:
    values = torch.tensor([0.0, 0.1])
    round_to_grid(values, SCALE, ZERO, HIGHEST).fill_(7.0)
    assert values[0] == 0.0


def test_the_gradient_passes_inside_the_range_and_stops_outside() -> None:
    lowest, top = -SCALE * ZERO, SCALE * (HIGHEST - ZERO)
    values = torch.tensor([lowest - 0.01, lowest + 0.01, 0.03, top - 0.01, top + 0.01], requires_grad=True)
    round_to_grid(values, SCALE, ZERO, HIGHEST).backward(torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0]))
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 3.0, 5.0, 7.0, 0.0]


def test_an_infinite_gradient_outside_the_range_is_zero() -> None:
    values = torch.tensor([1e6], requires_grad=True)
    round_to_grid(values, SCALE, ZERO, HIGHEST).backward(torch.tensor([torch.inf]))
    assert values.grad is not None
    assert values.grad.item() == 0.0
