"""One operator call as a rule sees it: its arguments, the dimensions that go in, the sizes that come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import Node

from laconic.graph.axes.algebra import Algebra
from laconic.graph.axes.expression import Expr
from laconic.graph.operators import PASSING, RESHAPING, arguments, name_of

CARRYING = RESHAPING | PASSING | {"select", "slice"}
"""Operators whose results are some or all of the values that go in."""
FOLLOWING = frozenset({"one_hot", "scatter", "scatter_add", "gather", "index", "index_select"})
"""Operators that can follow from which dimension an index is."""
ARRANGING = frozenset({"one_hot", "histc", "sort", "argsort", "index"})
"""Operators that read indices as values: they encode, count or rearrange them."""
Dims = tuple[Expr, ...]
Result = Dims | list[Dims]
"""The dimensions of an operator's result; a list where it returns several tensors."""


@dataclass
class Notes:
    """What rules find out beside dimensions.

    Args:
        sizes: `(node, argument)` -> the expression, or one an entry, whose size the integer argument is.
        statistics: nodes that compute something over a dimension (a mean, a softmax, a product of activations).
        roles: what a dimension is for, with the dimension.
        positions: an integer result -> the dimension whose indices its values are.
        least: dimensions of which so many indices have to stay.
    """

    sizes: dict[tuple[Node, str], Expr | Dims] = field(default_factory=dict)
    statistics: list[tuple[Node, Expr]] = field(default_factory=list)
    roles: list[tuple[str, Expr]] = field(default_factory=list)
    positions: dict[Node, Expr] = field(default_factory=dict)
    least: list[tuple[Expr, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """One operator call.

    Args:
        node: the call.
        algebra: unifies and freezes.
        notes: what this analysis has found out so far.
        known: node -> dimensions of its result.
        weights: nodes that are computed from parameters alone.
        size_of: makes a plain integer of a size that may be symbolic.
    """

    node: Node
    algebra: Algebra
    notes: Notes
    known: Mapping[Node, Result]
    weights: Mapping[Node, str]
    size_of: Callable[[Any], int]

    @property
    def name(self) -> str:
        """The operator's name without namespace, overload and in-place mark."""
        return name_of(self.node)

    @property
    def given(self) -> dict[str, Any]:
        """The arguments by name, defaults included."""
        return arguments(self.node)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every tensor that comes out."""
        value = self.node.meta.get("val")
        results = value if isinstance(value, tuple | list) else (value,)
        return [tuple(map(self.size_of, t.shape)) for t in results if isinstance(t, Tensor)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first tensor that comes out."""
        return self.shapes[0]

    def dims(self, argument: str | Node) -> Dims:
        """Returns the dimensions of a tensor argument, given by name or as a node."""
        node = self.given[argument] if isinstance(argument, str) else argument
        found = self.known[node]
        return tuple(map(self.algebra.resolve, found)) if isinstance(found, tuple) else ()

    def has(self, argument: str) -> bool:
        """Whether an optional tensor argument is there."""
        return isinstance(self.given.get(argument), Node)

    @property
    def tensors(self) -> list[Node]:
        """All tensor arguments, those in lists too."""
        return [node for node in self.node.all_input_nodes if isinstance(self.known.get(node), tuple)]

    def pointed_at(self, node: Any) -> Expr | None:
        """Returns the dimension whose indices the values of an integer tensor are, if that is known."""
        while isinstance(node, Node) and node not in self.notes.positions:
            if name_of(node) not in CARRYING:
                return None
            node = next(iter(node.all_input_nodes), None)
        return self.algebra.resolve(self.notes.positions[node]) if node is not None else None

    def freeze_pointed_at(self) -> None:
        """Freezes what the values of inputs are indices of, where this operator does not follow that."""
        if self.name in CARRYING:
            return
        given = self.given
        listed: list[Any] = given["indices"] if self.name == "index" else [given.get("index")]
        followed = [*listed, given["self"]] if self.name in ARRANGING else listed
        for source in self.node.all_input_nodes:
            expr = self.pointed_at(source)
            if expr is not None and not (self.name in FOLLOWING | ARRANGING and source in followed):
                self.algebra.freeze(expr)

    def position(self, argument: str = "dim", rank: int | None = None) -> int:
        """Returns a dimension argument counted from the front."""
        rank = len(self.dims("self")) if rank is None else rank
        return int(self.given[argument]) % max(rank, 1)

    def positions(self, argument: str = "dim") -> list[int]:
        """Returns a list of dimensions counted from the front; all of them where none is given."""
        rank, given = len(self.dims("self")), self.given.get(argument)
        listed = [given] if isinstance(given, int) else list(given or [])
        return [d % rank for d in listed] if listed else list(range(rank))

    def follow(self, argument: str, exprs: Expr | Sequence[Expr]) -> None:
        """Says that an integer argument (or each entry of a list) is the size of a dimension, and shrinks with it."""
        self.notes.sizes[self.node, argument] = tuple(exprs) if isinstance(exprs, Sequence) else exprs

    def statistic(self, *exprs: Expr) -> None:
        """Says that the operator mixes all indices of these dimensions."""
        self.notes.statistics += [(self.node, expr) for expr in exprs]

    def role(self, role: str, *exprs: Expr) -> None:
        """Says what dimensions are for."""
        self.notes.roles += [(role, expr) for expr in exprs]

    def unify_all(self, exprs: Sequence[Expr]) -> Expr:
        """Makes all dimensions the same and returns it."""
        for expr in exprs[1:]:
            self.algebra.unify(exprs[0], expr)
        return self.algebra.resolve(exprs[0])

    def broadcast(self, operands: Sequence[Dims], sizes: Sequence[int]) -> Dims:
        """Unifies operands as broadcasting aligns them, from the right, and returns the result's dimensions."""
        found: list[Expr] = []
        for back, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
            aligned = [dims[-back] for dims in operands if len(dims) >= back and dims[-back].size == size]
            found.append(self.unify_all(aligned) if aligned else self.algebra.rigid(size))
        return tuple(found)

    def rigid(self, sizes: Sequence[int]) -> Dims:
        """Returns frozen dimensions."""
        return tuple(map(self.algebra.rigid, sizes))


Rule = Callable[[Call], Result | None]
"""Unifies the dimensions of a call's tensors and returns those of its result; None where it does not apply."""
