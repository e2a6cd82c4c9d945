"""What belongs to each index of an axis, as plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from laconic.graph.axes import Axis, AxisSlice
from laconic.graph.axes.expression import Atom, Expr, Prod

NOWHERE = -1


def owners(expr: Expr, atom: Atom) -> Tensor:
    """Returns which index of an atom each index of a dimension belongs to, int64; -1 where to none.

    Example:
        >>> from laconic.graph.axes.expression import concatenation, product
        >>> channel = Atom(2)
        >>> owners(concatenation(product(channel, Atom(3)), Atom(1)), channel).tolist()
        [0, 0, 0, 1, 1, 1, -1]
    """
    if isinstance(expr, Atom):
        return torch.arange(expr.size) if expr is atom else torch.full((expr.size,), NOWHERE)
    if isinstance(expr, Prod):
        found = torch.full((1,), NOWHERE)
        for factor in expr.factors:
            found = torch.maximum(found[:, None], owners(factor, atom)[None, :]).flatten()
        return found
    return torch.cat([torch.zeros(0, dtype=torch.int64), *(owners(part, atom) for part in expr.parts)])


def per_index(axis: Axis, values: Tensor, part: AxisSlice) -> Tensor:
    """Returns the sum of a tensor's values over everything that belongs to each index, float64 `[size]`."""
    other = [d for d in range(values.dim()) if d != part.dim]
    summed = values.detach().cpu().double()
    summed = summed.sum(other) if other else summed
    owner = owners(part.expr, axis.atom)
    inside = owner >= 0
    return torch.zeros(axis.size, dtype=torch.float64).index_add(0, owner[inside], summed[inside])


def summed(axis: Axis, tensors: Mapping[str, Tensor], measure: Callable[[Tensor], Tensor], dims: int = 2) -> Tensor:
    """Returns `measure` of every weight, summed over all slices of each index, float64 `[size]`.

    Args:
        axis: whose indices.
        tensors: parameters and buffers by name; only floating ones of at least `dims` dimensions count.
        measure: element-wise.
        dims: 2 leaves biases and the affine part of normalisations out.
    """
    total = torch.zeros(axis.size, dtype=torch.float64)
    for part in weights_of(axis, tensors, dims):
        total += per_index(axis, measure(tensors[part.tensor].detach()), part)
    return total


def weights_of(axis: Axis, tensors: Mapping[str, Tensor], dims: int = 2) -> Iterator[AxisSlice]:
    """Yields the slices in floating tensors of at least so many dimensions; all floating ones where there are none."""
    floating = [part for part in axis.slices if tensors[part.tensor].is_floating_point()]
    yield from [part for part in floating if tensors[part.tensor].dim() >= dims] or floating
