"""Reads ATen operators: which of them multiply an input by a parameter, and what they multiply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from laconic.calibrate.layer import Kind, Layer
from laconic.calibrate.moments import bags, lookups, second_moment
from laconic.calibrate.parts import Part
from laconic.calibrate.patches import padded, stuffed
from laconic.calibrate.weights import Weights
from laconic.calibrate.windows import window_moment

aten = torch.ops.aten
MEAN, MAXIMUM = 1, 2  # Of ATen's embedding_bag.

# Returns the sum of `x x^T` over a product's inputs, and their number in each group.
Moment = Callable[[], tuple[Tensor, int]]


@dataclass(frozen=True)
class Product:
    """One use of a parameter in one forward pass.

    Args:
        part: what is used.
        moment: returns the sum of `x x^T` over the inputs and their number in each group.
        rows: reshapes a gradient at the output to `[groups, positions, outputs]`.
    """

    part: Part
    moment: Moment
    rows: Callable[[Tensor], Tensor]


def product_of(weights: Weights, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Product | None:
    """Returns what an operator multiplies, or None if it multiplies no input by a parameter."""
    if func is aten.convolution.default:
        return _convolution(weights, *args)
    if func is aten.embedding.default:
        return _embedding(weights, args[0], partial(lookups, args[1], len(args[0])))
    if func in (aten._embedding_bag.default, aten._embedding_bag_forward_only.default):
        return _embedding_bag(weights, *args)
    operands = _operands(func, args) if not kwargs else None
    return None if operands is None else _product(weights, *operands)


def _operands(func: Any, args: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
    """The factors of a matrix product, as `[batch, n, k]` and `[batch, k, m]`."""
    if func is aten.mm.default:
        return args[0][None], args[1][None]
    if func is aten.addmm.default:
        return args[1][None], args[2][None]
    if func is aten.bmm.default:
        return args[0], args[1]
    if func is aten.baddbmm.default:
        return args[1], args[2]
    if func is aten.mv.default:
        return args[0][None], args[1][None, :, None]
    if func is aten.addmv.default:
        return args[1][None], args[2][None, :, None]
    if func is aten.linear.default:
        return args[0].reshape(1, -1, args[0].shape[-1]), args[1].t()[None]
    return None


def _product(weights: Weights, left: Tensor, right: Tensor) -> Product | None:
    """`x W` with the weight on the right, or `W x` as `(x^T W^T)^T` with the weight on the left."""
    shape = (left.shape[0], left.shape[1], right.shape[2])

    def upright(gradient: Tensor) -> Tensor:
        return gradient.reshape(shape)

    def mirrored(gradient: Tensor) -> Tensor:
        return gradient.reshape(shape).mT

    found = _right_product(weights, left, right, upright)
    return found or _right_product(weights, right.mT, left.mT, mirrored)


def _right_product(
    weights: Weights, inputs: Tensor, operand: Tensor, batched: Callable[[Tensor], Tensor]
) -> Product | None:
    if operand.shape[0] == 1 or operand.stride(0) == 0:
        rows = weights.rows(operand[0])
        if rows is not None:
            layer = _linear(weights, rows.parameter, transposed=rows.transposed)
            vectors = inputs.reshape(1, -1, inputs.shape[2])
            part = Part(layer, rows.start, rows.stop)
            return Product(part, partial(second_moment, [vectors]), lambda g: _one_group(batched(g)))
    for transposed in (False, True):
        name = weights.whole(operand if transposed else operand.mT)
        if name is not None and operand.dim() == 3:
            layer = _linear(weights, name, groups=operand.shape[0], transposed=transposed)
            return Product(Part.all_of(layer), partial(second_moment, [inputs]), batched)
    return None


def _one_group(rows: Tensor) -> Tensor:
    return rows.reshape(1, -1, rows.shape[2])


def _linear(weights: Weights, name: str, *, groups: int = 1, transposed: bool) -> Layer:
    shape = weights.shapes[name]
    return Layer(parameter=name, kind="linear", shape=shape, groups=groups, transposed=transposed)


def _convolution(
    weights: Weights,
    inputs: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Product | None:
    name = weights.whole(weight)
    if name is None:
        return None
    space = weight.dim() - 2
    stride, padding, dilation, output_padding = (
        _each(setting, space) for setting in (stride, padding, dilation, output_padding)
    )
    kind: Kind = "conv_transpose" if transposed else "conv"
    layer = Layer(parameter=name, kind=kind, shape=weights.shapes[name], groups=groups)
    kernel = weight.shape[2:]

    def moment() -> tuple[Tensor, int]:
        if not transposed:
            return window_moment(padded(inputs, padding), kernel, stride, dilation, groups)
        wide = stuffed(inputs, kernel, stride, padding, dilation, output_padding)
        return window_moment(wide, kernel, (1,) * space, dilation, groups)

    return Product(Part.all_of(layer), moment, partial(_positions, groups=groups))


def _each(setting: Sequence[int], space: int) -> tuple[int, ...]:
    return tuple(setting) * space if len(setting) == 1 else tuple(setting)


def _positions(gradient: Tensor, groups: int) -> Tensor:
    """`[samples, channels, *space]` to `[groups, positions, channels / groups]`."""
    samples, channels = gradient.shape[:2]
    by_group = gradient.reshape(samples, groups, channels // groups, -1)
    return by_group.permute(1, 0, 3, 2).reshape(groups, -1, channels // groups)


def _embedding(weights: Weights, weight: Tensor, moment: Moment) -> Product | None:
    name = weights.whole(weight)
    if name is None:
        return None
    layer = Layer(parameter=name, kind="embedding", shape=weights.shapes[name])
    return Product(Part.all_of(layer), moment, lambda g: g.reshape(1, -1, weight.shape[1]))


def _embedding_bag(
    weights: Weights,
    weight: Tensor,
    rows: Tensor,
    offsets: Tensor,
    _scale_grad_by_freq: bool = False,
    mode: int = 0,
    _sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Product | None:
    """Sums (mode 0) and means (mode 1) of rows; a maximum (mode 2) is no linear map."""
    if mode == MAXIMUM:
        return None
    share = torch.ones_like(rows, dtype=torch.float32) if per_sample_weights is None else per_sample_weights
    share = share * (rows != padding_idx)
    starts = offsets[:-1] if include_last_offset else offsets
    return _embedding(weights, weight, partial(bags, rows, starts, share, len(weight), mean=mode == MEAN))
