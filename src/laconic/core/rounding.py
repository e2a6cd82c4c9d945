"""Rounding of activations as one operator, so that capture and export see it as such."""

from __future__ import annotations

from collections.abc import Sequence
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


@torch.library.custom_op("laconic::round_channels", mutates_args=())
def round_channels(values: Tensor, scale: Sequence[float], zero_point: Sequence[int], dim: int, highest: int) -> Tensor:
    """Does what `round_to_grid` does, with a grid for each index of dimension `dim`."""
    steps, zeros = _along(values, scale, dim), _along(values, zero_point, dim)
    codes = (values.float() / steps).round_().add_(zeros).clamp_(0, highest)
    return codes.sub_(zeros).mul_(steps).to(values.dtype)


def _along(values: Tensor, numbers: Sequence[float], dim: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=values.device).reshape(-1, *[1] * (-1 - dim))


@round_channels.register_fake
def _(values: Tensor, scale: Sequence[float], zero_point: Sequence[int], dim: int, highest: int) -> Tensor:
    return torch.empty_like(values)


def _keep_channels(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, scale, zero_point, dim, highest = inputs
    steps, zeros = _along(values, scale, dim), _along(values, zero_point, dim)
    ctx.save_for_backward((values >= -steps * zeros) & (values <= steps * (highest - zeros)))


def _backward_channels(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
    (inside,) = ctx.saved_tensors
    return gradient.masked_fill(~inside, 0), None, None, None, None


round_channels.register_autograd(_backward_channels, setup_context=_keep_channels)


@torch.library.custom_op("laconic::round_vectors", mutates_args=())
def round_vectors(values: Tensor, highest: int) -> Tensor:
    """Rounds each vector along the last dimension to `highest + 1` even steps from its least to its largest value.

    Zero is one of them: a vector of one sign has its range begin there. Same shape and dtype; the gradient passes
    unchanged.
    """
    if not values.numel():
        return values.clone()
    exact = values.float()
    low, high = exact.amin(-1, keepdim=True).clamp_(max=0), exact.amax(-1, keepdim=True).clamp_(min=0)
    steps = (high - low) / highest
    steps = torch.where(steps > 0, steps, 1.0)
    zeros = (-low / steps).round_()
    codes = (exact / steps).round_().add_(zeros).clamp_(0, highest)
    return codes.sub_(zeros).mul_(steps).to(values.dtype)


@round_vectors.register_fake
def _(values: Tensor, highest: int) -> Tensor:
    return torch.empty_like(values)


round_vectors.register_autograd(lambda _, gradient: (gradient, None))
