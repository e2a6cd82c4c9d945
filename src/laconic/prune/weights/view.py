"""A layer as patterns and solvers see it."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from laconic.calibrate import Layer
from laconic.core.layout import Layout


class View(NamedTuple):
    """A layer's weight as matrices whose columns are ordered for patterns.

    Args:
        layer: which dimensions are outputs and inputs.
        layout: the same for storage: rows are outputs; columns inputs, a convolution's channels together.
        columns: which of the layer's inputs each column is, int64 `[columns]`.
    """

    layer: Layer
    layout: Layout
    columns: Tensor

    @classmethod
    def of(cls, layer: Layer) -> Self:
        """Returns the view of a layer. An embedding's rows are the rows that are looked up."""
        layout = _layout(layer)
        if layer.kind == "embedding":
            return cls(layer, layout, torch.arange(layout.matrix[2]))
        inputs = torch.arange(layer.matrix_shape[2]).expand(layer.matrix_shape)
        return cls(layer, layout, layout.view(layer.weight(inputs))[0, 0])

    def spread(self, energy: Tensor) -> Tensor:
        """Returns a number for each input, `[groups, inputs]`, as one for each weight, of the weight's shape."""
        return self.layer.weight(energy[:, None, :].expand(self.layer.matrix_shape))

    def spread_outputs(self, numbers: Tensor) -> Tensor:
        """Returns a number for each output, `[groups, outputs]`, as one for each weight, of the weight's shape."""
        return self.layer.weight(numbers[:, :, None].expand(self.layer.matrix_shape))


def _layout(layer: Layer) -> Layout:
    shape, groups = layer.shape, layer.groups
    if layer.kind == "embedding":
        return Layout.rows(shape)
    _, outputs, inputs = layer.matrix_shape
    if layer.kind == "conv_transpose":
        split = (groups, shape[0] // groups, *shape[1:])
        order = (0, 2, *range(3, len(split)), 1)
    elif layer.kind == "conv":
        split = (groups, shape[0] // groups, *shape[1:])
        order = (0, 1, *range(3, len(split)), 2)
    elif layer.transposed:
        split, last = shape, len(shape)
        order = (*range(last - 2), last - 1, last - 2)
    else:
        split, order = shape, tuple(range(len(shape)))
    return Layout(shape=shape, split=split, order=order, matrix=(groups, outputs, inputs))
