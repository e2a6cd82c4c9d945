"""What a cut saves, from the sizes that are left, without running or capturing anything again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

from torch.fx import Node

from laconic.core.errors import invalid
from laconic.graph import costs
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import LARGEST_REAL, Atom, Prod, atoms_in, kept_size, product
from laconic.graph.macs import products_of
from laconic.graph.operators import ATTENTION, name_of
from laconic.graph.weights import weight_names

Measure = Literal["macs", "parameters", "slices"]
Sizes = Mapping[Atom, int]


class Savings:
    """Sums terms `weight * product of the sizes of some dimensions`.

    A parameter's multiply-accumulates grow with its number of elements; those of a product of activations with the
    sizes of its result and of what it sums over.

    Args:
        axes: the analysis of the model.
        measure: what is counted.
    """

    def __init__(self, axes: Axes, measure: Measure) -> None:
        if measure not in get_args(Measure):
            raise invalid("prune.of", measure, "'macs', 'parameters' or 'slices'")
        terms = {"macs": _mac_terms, "parameters": _parameter_terms, "slices": _slice_terms}[measure](axes)
        self._terms = [(weight, dims) for weight, dims in terms if weight]
        self._of_axis: dict[Atom, list[int]] = {axis.atom: [] for axis in axes}
        for i, (_, dims) in enumerate(self._terms):
            for atom in {atom for expr in dims for atom in atoms_in(expr)} & self._of_axis.keys():
                self._of_axis[atom].append(i)
        self.total = self.amount({})

    def amount(self, sizes: Sizes) -> float:
        """Returns what is left of the whole at these sizes."""
        return sum(self._term(i, sizes) for i in range(len(self._terms)))

    def gained(self, axis: Axis, sizes: dict[Atom, int], size: int) -> float:
        """Returns what it saves to take one more axis down to a size, everything else at the given sizes."""
        smaller = {**sizes, axis.atom: size}
        return sum(self._term(i, sizes) - self._term(i, smaller) for i in self._of_axis[axis.atom])

    def _term(self, i: int, sizes: Sizes) -> float:
        weight, dims = self._terms[i]
        return weight * math.prod(kept_size(expr, sizes) for expr in dims)


def _parameter_terms(axes: Axes) -> list[tuple[float, Dims]]:
    known = axes.resolved.tensors
    return [
        (1.0, known[name]) if name in known else (float(p.numel()), ()) for name, p in axes.graph.parameters.items()
    ]


def _slice_terms(axes: Axes) -> list[tuple[float, Dims]]:
    return [(1.0, (axis.atom,)) for axis in axes]


def _mac_terms(axes: Axes) -> list[tuple[float, Dims]]:
    counted = costs(axes.graph)
    terms = [_scaled(macs, axes.resolved.tensors.get(name, ())) for name, macs in counted.macs_by_parameter.items()]
    return terms + _activation_terms(axes, counted.other_macs)


def _activation_terms(axes: Axes, macs: int) -> list[tuple[float, Dims]]:
    """Shares what has no parameter out among the products of activations, by what each would count."""
    weights = weight_names(axes.graph)
    shares: list[tuple[float, Dims]] = []
    for node in axes.graph.nodes:
        for operands, _ in products_of(node):
            if not any(operand in weights for operand in operands):
                # Attention sums over what is inside its operands, other products spread the first over the result.
                spread = () if name_of(node) == ATTENTION else _real(axes, node)[-1:]
                dims = (*_real(axes, operands[0]), *spread)
                shares.append((float(math.prod(expr.size for expr in dims)), dims))
    whole = sum(share for share, _ in shares)
    return [_scaled(macs * share / whole, dims) for share, dims in shares] if whole else [(float(macs), ())]


def _real(axes: Axes, node: Node) -> Dims:
    """Returns the dimensions of a node's result, each without the batch in it."""
    found = axes.resolved.dims.get(node, ())
    dims = found if isinstance(found, tuple) else found[0]
    factors = (expr.factors if isinstance(expr, Prod) else (expr,) for expr in dims)
    return tuple(product(*(factor for factor in part if factor.size <= LARGEST_REAL)) for part in factors)


def _scaled(amount: float, dims: Dims) -> tuple[float, Dims]:
    whole = math.prod(expr.size for expr in dims)
    return (amount / whole, dims) if whole else (amount, ())
