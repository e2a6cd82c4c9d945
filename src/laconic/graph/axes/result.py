"""The axes of a model as data: what can be cut, what cannot and why, as a readable table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from laconic.core.edit import Slice
from laconic.core.errors import invalid
from laconic.graph.axes.call import Dims, Result
from laconic.graph.axes.expression import Atom, Expr, kept_mask
from laconic.graph.axes.table import frozen_by, table
from laconic.graph.capture import Graph


@dataclass(frozen=True)
class AxisSlice:
    """One dimension of one parameter or buffer that an axis runs through.

    Args:
        tensor: canonical name.
        dim: the dimension.
        expr: what the dimension is made of; the axis' atom is in it, perhaps in a product or a concatenation.
    """

    tensor: str
    dim: int
    expr: Expr

    def indices(self, atom: Atom, index: int) -> Tensor:
        """Returns the indices of the dimension that belong to one index of an axis, int64, ascending."""
        others = torch.arange(atom.size) != index
        return (~kept_mask(self.expr, {atom: others})).nonzero().flatten()


@dataclass(frozen=True)
class Axis:
    """A set of coupled slices: index i of every slice is cut together, at any i.

    Args:
        name: where it is written, such as `conv1.weight[0]`; unique in the model.
        size: number of indices.
        kind: `channels`, `heads`, `head width`, `neurons`, `hidden state`, `residual stream` or `embedding width`.
        slices: every dimension of a parameter or buffer that it runs through.
        statistics: operators that compute something over it, such as a mean: what remains changes when it is cut.
        atom: its identity in the expressions.
        least: how many indices have to stay, such as the experts chosen for each token.
    """

    name: str
    size: int
    kind: str
    slices: tuple[AxisSlice, ...]
    statistics: tuple[str, ...]
    atom: Atom
    least: int = 1

    def indices(self, index: int) -> tuple[tuple[str, int, Tensor], ...]:
        """Returns `(tensor, dimension, indices)` of everything that one index of the axis stands for."""
        return tuple((s.tensor, s.dim, s.indices(self.atom, index)) for s in self.slices)


@dataclass(frozen=True)
class FrozenDim:
    """A dimension of a parameter or buffer in which nothing can be cut.

    Args:
        tensor: canonical name.
        dim: the dimension.
        size: its number of indices.
        operators: what froze it, or its parts.
    """

    tensor: str
    dim: int
    size: int
    operators: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resolved:
    """The final expressions.

    Args:
        dims: node -> dimensions of its result.
        tensors: canonical name of a parameter or buffer -> its dimensions.
        sizes: `(node, argument)` -> expression whose size an integer argument is, or one an entry.
        statistics: `(node, dimension)` for everything that is computed over a dimension.
    """

    dims: Mapping[Node, Result]
    tensors: Mapping[str, Dims]
    sizes: Mapping[tuple[Node, str], Expr | Dims]
    statistics: tuple[tuple[Node, Expr], ...]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Axes:
    """All axes of a model, in the order of its parameters.

    Args:
        graph: the model.
        axes: what can be cut.
        frozen: dimensions that cannot, with the operators that forbid it.
        resolved: the expressions behind both.
    """

    graph: Graph
    axes: tuple[Axis, ...]
    frozen: tuple[FrozenDim, ...]
    resolved: Resolved

    def __iter__(self) -> Iterator[Axis]:
        return iter(self.axes)

    def __len__(self) -> int:
        return len(self.axes)

    def __getitem__(self, name: str) -> Axis:
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise invalid("Axes", name, f"one of {', '.join(axis.name for axis in self.axes)}")

    def masks(self, keep: Mapping[Axis, Tensor]) -> dict[Atom, Tensor]:
        """Returns atom -> which indices stay, bool, from the kept indices of each axis.

        Raises:
            UsageError: an index is out of range, comes twice, or none is kept.
        """
        return {axis.atom: _mask(axis, kept) for axis, kept in keep.items()}

    def slices(self, keep: Mapping[Axis, Tensor]) -> tuple[Slice, ...]:
        """Returns what stays of every parameter and buffer when the axes are cut together.

        Args:
            keep: the kept indices of each axis that is cut, int64.
        """
        masks = self.masks(keep)
        touched = {(s.tensor, s.dim): s.expr for axis in keep for s in axis.slices}
        return tuple(
            Slice(tensor, dim, kept_mask(expr, masks).nonzero().flatten()) for (tensor, dim), expr in touched.items()
        )

    def frozen_by(self) -> dict[str, list[str]]:
        """Returns why dimensions are frozen -> which, as patterns such as `layer.{0-3}.conv.weight[2,3]`."""
        return frozen_by(self)

    def __str__(self) -> str:
        return table(self)

    def __repr__(self) -> str:
        return table(self)


def _mask(axis: Axis, kept: Tensor) -> Tensor:
    mask = torch.zeros(axis.size, dtype=torch.bool)
    indices = [] if kept.dtype.is_floating_point or kept.dtype == torch.bool else kept.tolist()
    few = len(indices) < axis.least
    if few or not set(indices) <= set(range(axis.size)) or len(set(indices)) < len(indices):
        least = "one index" if axis.least == 1 else f"{axis.least} indices"
        raise invalid(f"keep of {axis.name}", kept.tolist(), f"at least {least} below {axis.size}, each once")
    mask[indices] = True
    return mask
