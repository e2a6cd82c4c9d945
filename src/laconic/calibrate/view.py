"""A layer's weight as the matrices that patterns, vectors and solvers see."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from laconic.calibrate.layer import Layer
from laconic.core.layout import Layout


class View(NamedTuple):
    """A layer's weight as matrices whose columns lie in a wanted order.

    Args:
        layer: which dimensions are outputs and inputs.
        layout: the same for storage: rows are outputs, columns inputs; an embedding's rows are those that are looked
            up.
        columns: which of the layer's inputs each column is, int64 `[columns]`.
    """

    layer: Layer
    layout: Layout
    columns: Tensor

    @classmethod
    def of(cls, layer: Layer, *, whole_kernels: bool) -> Self:
        """Returns the view of a layer.

        Args:
            layer: the layer.
            whole_kernels: the elements of a convolution's kernel lie side by side; otherwise its input channels do.
        """
        layout = _layout(layer, whole_kernels)
        if layer.kind == "embedding" or not layout.matrix[0] * layout.matrix[1]:
            return cls(layer, layout, torch.arange(layout.matrix[2]))
        inputs = torch.arange(layer.matrix_shape[2]).expand(layer.matrix_shape)
        return cls(layer, layout, layout.view(layer.weight(inputs))[0, 0])

    def moment(self, second_moment: Tensor) -> Tensor:
        """Returns a second moment of the layer's inputs, `[groups, inputs, inputs]`, in the order of the columns."""
        return second_moment[:, self.columns][:, :, self.columns]

    def spread(self, energy: Tensor) -> Tensor:
        """Returns a number for each input, `[groups, inputs]`, as one for each weight, of the weight's shape."""
        return self.layer.weight(energy[:, None, :].expand(self.layer.matrix_shape))

    def spread_outputs(self, numbers: Tensor) -> Tensor:
        """Returns a number for each output, `[groups, outputs]`, as one for each weight, of the weight's shape."""
        return self.layer.weight(numbers[:, :, None].expand(self.layer.matrix_shape))


def _layout(layer: Layer, whole_kernels: bool) -> Layout:
    shape, groups = layer.shape, layer.groups
    if layer.kind == "embedding":
        return Layout.rows(shape)
    split, order = shape, tuple(range(len(shape)))
    if layer.kind in ("conv", "conv_transpose"):
        split = (groups, shape[0] // groups, *shape[1:])
        outputs, inputs = (1, 2) if layer.kind == "conv" else (2, 1)
        kernel = tuple(range(3, len(split)))
        order = (0, outputs, inputs, *kernel) if whole_kernels else (0, outputs, *kernel, inputs)
    elif layer.transposed:
        order = (*order[:-2], order[-1], order[-2])
    return Layout(shape=shape, split=split, order=order, matrix=layer.matrix_shape)
