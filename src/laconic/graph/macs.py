"""Multiply-accumulates of one operator call, from the shapes of its operands."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.fx import Node

from laconic.graph.operators import ATTENTION, CONVOLUTIONS, RECURRENT, TRANSPOSED_CONVOLUTIONS, arguments, name_of

Shape = tuple[Any, ...]
Given = Mapping[str, Any]
Products = list[tuple[tuple[Node, ...], Any]]
Rule = Callable[[Given, Shape], Products]


def products_of(node: Node) -> Products:
    """Returns `(operands that may be the weight, MACs)` for each product in a call; nothing for other operators.

    The counts are expressions in the batch size where that is symbolic. Additions of a bias, element-wise operators,
    look-ups and normalisations count nothing.
    """
    rule = RULES.get(name_of(node))
    return rule(arguments(node), shape_of(node)) if rule else []


def shape_of(node: Any) -> Shape:
    """Returns the shape of a node's (first) result."""
    value = node.meta.get("val")
    first = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(getattr(first, "shape", ()))


def _linear(given: Given, result: Shape) -> Products:
    weight = given["weight"]
    return [((weight,), math.prod(result) * math.prod(shape_of(weight)[1:]))]


def _product(left: str, right: str) -> Rule:
    def count(given: Given, result: Shape) -> Products:
        first, second = given[left], given[right]
        return [((first, second), math.prod(result) * shape_of(first)[-1])]

    return count


def _grouped(given: Given, result: Shape) -> Products:
    """Every row meets one expert's matrix `[k, n]`."""
    rows, experts = list(given.values())[:2]
    return [((experts,), math.prod(result) * shape_of(rows)[-1])]


def _convolution(given: Given, result: Shape) -> Products:
    return _transposed_convolution(given, result) if given.get("transposed") else _linear(given, result)


def _transposed_convolution(given: Given, result: Shape) -> Products:
    weight = given["weight"]
    return [((weight,), math.prod(shape_of(given["input"])) * math.prod(shape_of(weight)[1:]))]


def _attention(given: Given, result: Shape) -> Products:
    query, keys = shape_of(given["query"]), shape_of(given["key"])
    scores = math.prod(query[:-1]) * keys[-2]
    return [((given["key"],), scores * query[-1]), ((given["value"],), scores * result[-1])]


def spelled_out(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Returns the labels of each operand of an einsum and of its result: one a dimension, those under an ellipsis too.

    Args:
        equation: as PyTorch takes it.
        ranks: number of dimensions of each operand.

    Example:
        >>> spelled_out("...ab, b -> ...a", (4, 1))
        (['YZab', 'b'], 'YZa')
        >>> spelled_out("ba,bc", (2, 2))
        (['ba', 'bc'], 'ac')
    """
    left, arrow, kept = equation.replace(" ", "").replace("...", ".").partition("->")
    terms = left.split(",")
    implied = "." * ("." in left) + "".join(sorted(k for k in left if left.count(k) == 1 and k not in ".,"))
    hidden = [rank - len(term) + 1 if "." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    free = "".join(k for k in string.ascii_lowercase + string.ascii_uppercase if k not in equation)
    under = free[len(free) - max(hidden) :]
    spelled = [term.replace(".", under[len(under) - count :]) for term, count in zip(terms, hidden, strict=True)]
    return spelled, (kept if arrow else implied).replace(".", under)


def labels_of_products(terms: Sequence[str], kept: str) -> list[str]:
    """Returns the labels of each product that an einsum is made of: operands meet from left to right, as in PyTorch.

    Example:
        >>> [sorted(labels) for labels in labels_of_products(["ab", "bc", "cd"], "ad")]
        [['a', 'b', 'c'], ['a', 'c', 'd']]
    """
    found: list[str] = []
    open_labels = set(terms[0])
    for i in range(1, len(terms)):
        joined = open_labels | set(terms[i])
        found.append("".join(joined))
        open_labels = joined & set(kept + "".join(terms[i + 1 :]))
    return found


def _einsum(given: Given, result: Shape) -> Products:
    shapes = [shape_of(node) for node in given["tensors"]]
    terms, kept = spelled_out(given["equation"], [len(shape) for shape in shapes])
    sizes: dict[str, Any] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            sizes[label] = size if label not in sizes or sizes[label] == 1 else sizes[label]  # One is broadcast.
    return [
        (tuple(given["tensors"][: i + 2]), math.prod(sizes[k] for k in joined))
        for i, joined in enumerate(labels_of_products(terms, kept))
    ]


def _recurrent(given: Given, result: Shape) -> Products:
    """Every matrix of every layer and direction is applied once a time step."""
    steps = math.prod(shape_of(given.get("input", given.get("data")))[:-1])
    matrices = [weight for weight in given["params"] if len(shape_of(weight)) == 2]
    return [((weight,), steps * math.prod(shape_of(weight))) for weight in matrices]


def _cell(given: Given, result: Shape) -> Products:
    rows = math.prod(shape_of(given["input"])[:-1])
    return [((given[name],), rows * math.prod(shape_of(given[name]))) for name in ("w_ih", "w_hh")]


RULES: dict[str, Rule] = {
    "linear": _linear,
    "_grouped_mm": _grouped,
    "grouped_mm_fallback": _grouped,
    "bilinear": _linear,
    "einsum": _einsum,
    ATTENTION: _attention,
    "mm": _product("self", "mat2"),
    "bmm": _product("self", "mat2"),
    "matmul": _product("self", "other"),
    "dot": _product("self", "tensor"),
    "mv": _product("self", "vec"),
    "addmm": _product("mat1", "mat2"),
    "baddbmm": _product("batch1", "batch2"),
    "addmv": _product("mat", "vec"),
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, _transposed_convolution),
    **{name: _cell if name.endswith("cell") else _recurrent for name in RECURRENT},
}
