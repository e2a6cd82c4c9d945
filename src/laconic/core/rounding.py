"""Rounding of activations as one operator, so that capture and export see it as such."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("laconic::round_to_grid", mutates_args=())
def round_to_grid(values: Tensor, scale: float, zero_point: int, highest: int) -> Tensor:
    """Returns the nearest values `scale * (code - zero_point)` with `code` in `[0, highest]`; same shape and dtype.

    The gradient passes unchanged where the values lie inside the grid's range and is zero outside.
    """
    return torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, highest)


@round_to_grid.register_fake
def _(values: Tensor, scale: float, zero_point: int, highest: int) -> Tensor:
    return torch.empty_like(values)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, scale, zero_point, highest = inputs
    ctx.save_for_backward((values >= -scale * zero_point) & (values <= scale * (highest - zero_point)))


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    (inside,) = ctx.saved_tensors
    return gradient.masked_fill(~inside, 0), None, None, None


round_to_grid.register_autograd(_backward, setup_context=_keep)
