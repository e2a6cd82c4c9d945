"""What a cut saves, from the sizes that are left, without running or capturing anything again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch.fx import Node

from laconic.core.errors import invalid
from laconic.graph.axes import Axes
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import LARGEST_REAL, Atom, Prod, atoms_in, kept_size, product
from laconic.graph.costs import macs_by_product
from laconic.graph.macs import labels_of_products, spelled_out
from laconic.graph.operators import (
    ATTENTION,
    CONVOLUTIONS,
    RECURRENT,
    TRANSPOSED_CONVOLUTIONS,
    arguments,
    name_of,
)

Measure = Literal["macs", "parameters", "slices"]
Sizes = Mapping[Atom, int]


class Savings:
    """Sums terms `weight * product of the sizes of some dimensions`.

    The multiply-accumulates of a product grow with the sizes of its result and of what it sums over.

    Args:
        axes: the analysis of the model.
        measure: what is counted.
    """

    def __init__(self, axes: Axes, measure: Measure) -> None:
        if measure not in get_args(Measure):
            raise invalid("prune.of", measure, "'macs', 'parameters' or 'slices'")
        self.measure = measure
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

    def gained(self, sizes: Sizes, smaller: Sizes) -> float:
        """Returns what it saves to take some more axes down to smaller sizes, everything else at the given ones."""
        after = {**sizes, **smaller}
        touched = {i for atom in smaller for i in self._of_axis[atom]}
        return sum(self._term(i, sizes) - self._term(i, after) for i in sorted(touched))

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
    return [
        _scaled(macs, _multiplied(axes, node, operands)) for node, operands, macs in macs_by_product(axes.graph) if macs
    ]


def _multiplied(axes: Axes, node: Node, operands: tuple[Node, ...]) -> Dims:
    """Returns the dimensions whose sizes a product's multiply-accumulates are proportional to."""
    name, given = name_of(node), arguments(node)
    first, result = _real(axes, operands[0]), _real(axes, node)
    if name in RECURRENT:
        return first
    if name == ATTENTION:
        return _real(axes, given["query"]) if operands == (given["key"],) else result
    if name == "einsum":
        return _labelled(axes, given, len(operands) - 2)
    if name in CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | {"linear", "bilinear"}:
        transposed = name in TRANSPOSED_CONVOLUTIONS or given.get("transposed")
        return (*(_real(axes, given["input"]) if transposed else result), *first[1:])
    if len(operands) == 1:  # Rows of one expert each: [rows, k] x [experts, k, n].
        return (*result, *first[1:-1])
    return (*first, *(result[-1:] if len(_real(axes, operands[1])) > 1 else ()))


def _labelled(axes: Axes, given: Mapping[str, Any], which: int) -> Dims:
    dims = [_real(axes, node) for node in given["tensors"]]
    terms, kept = spelled_out(given["equation"], [len(found) for found in dims])
    by_label = {k: dim for term, found in zip(terms, dims, strict=True) for k, dim in zip(term, found, strict=True)}
    return tuple(by_label[label] for label in labels_of_products(terms, kept)[which])


def _real(axes: Axes, node: Node) -> Dims:
    """Returns the dimensions of a node's result, each without the batch in it."""
    found = axes.resolved.dims.get(node, ())
    dims = found if isinstance(found, tuple) else found[0]
    factors = (expr.factors if isinstance(expr, Prod) else (expr,) for expr in dims)
    return tuple(product(*(factor for factor in part if factor.size <= LARGEST_REAL)) for part in factors)


def _scaled(amount: float, dims: Dims) -> tuple[float, Dims]:
    whole = math.prod(expr.size for expr in dims)
    return (amount / whole, dims) if whole else (amount, ())
