"""A layer's weight as the matrices whose inputs lie side by side."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from laconic.calibrate import Layer
from laconic.core.layout import Layout


class View(NamedTuple):
    """How a weight is laid out for sharing: rows are outputs, columns inputs, a kernel's elements together.

    Args:
        layer: which dimensions are outputs and inputs.
        layout: the same for storage; an embedding's rows are those that are looked up.
        columns: which of the layer's inputs each column is, int64 `[columns]`.
    """

    layer: Layer
    layout: Layout
    columns: Tensor

    @classmethod
    def of(cls, layer: Layer) -> Self:
        """Returns the view of a layer."""
        layout = _layout(layer)
        if layer.kind == "embedding" or not layout.matrix[0] * layout.matrix[1]:
            return cls(layer, layout, torch.arange(layout.matrix[2]))
        inputs = torch.arange(layer.matrix_shape[2]).expand(layer.matrix_shape)
        return cls(layer, layout, layout.view(layer.weight(inputs))[0, 0])

    def moment(self, second_moment: Tensor) -> Tensor:
        """Returns a second moment of the layer's inputs, `[groups, inputs, inputs]`, in the order of the columns."""
        return second_moment[:, self.columns][:, :, self.columns]


def _layout(layer: Layer) -> Layout:
    shape, groups = layer.shape, layer.groups
    if layer.kind == "embedding":
        return Layout.rows(shape)
    split, order = shape, tuple(range(len(shape)))
    if layer.kind == "conv_transpose":
        split = (groups, shape[0] // groups, *shape[1:])
        order = (0, 2, 1, *range(3, len(split)))
    elif layer.transposed:
        order = (*order[:-2], order[-1], order[-2])
    return Layout(shape=shape, split=split, order=order, matrix=layer.matrix_shape)
