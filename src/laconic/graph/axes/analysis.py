"""Finds the axes of a model: one pass over its graph that unifies, then reads off what stayed free."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Node

from laconic.graph.axes.algebra import Algebra
from laconic.graph.axes.call import Call, Dims, Notes, Result
from laconic.graph.axes.expression import BATCH_STAND_INS, Atom, Expr, atoms_in
from laconic.graph.axes.result import Axes, Axis, AxisSlice, FrozenDim, Resolved
from laconic.graph.axes.rules import rule_for
from laconic.graph.capture import Graph, capture
from laconic.graph.example import Example, example_inputs
from laconic.graph.operators import module_of, target_of
from laconic.graph.weights import weight_names

KINDS = (
    "vocabulary",
    "experts",
    "hidden state",
    "heads",
    "head width",
    "residual stream",
    "embedding width",
    "channels",
)
"""Kinds by precedence; an axis with none of these roles is made of neurons."""


def axes(model: nn.Module | Graph, example: Example = (), kwargs: Mapping[str, Any] | None = None) -> Axes:
    """Finds every set of coupled slices that can be cut, and what cannot be and why.

    Every dimension of every tensor becomes an expression in atoms; each operator's rule unifies what it couples. What
    reaches the model's inputs or outputs, kernel positions and whatever an operator without a rule touches are frozen.

    Args:
        model: a model, or a graph that is captured already.
        example: what to call a model with: a tensor, a sequence of positional inputs, a mapping of named ones, or a
            `Task`, whose first calibration samples are taken. Not needed for a graph.
        kwargs: named inputs beside positional ones.

    Raises:
        ModelError: the model cannot be captured.
        UsageError: the example is none of these.

    Guarantees:
        The time is polynomial in the size of the graph, and bounded.
        An axis holds every slice of every parameter and buffer that has to go together.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> print(axes(model, torch.zeros(5, 3)))
        Sequential: 1 axis can be cut, in 3 of 4 parameters.
        <BLANKLINE>
        axis         size  kind     each
        0.weight[0]     4  neurons     6
            0.{weight,bias}[0], 2.weight[1]
        <BLANKLINE>
        frozen by           dimensions
        the model's input   0.weight[1]
        the model's output  2.{weight,bias}[0]
    """
    graph = model if isinstance(model, Graph) else _captured(model, example, kwargs)
    analysis = Analysis(graph)
    for node in graph.nodes:
        analysis.visit(node)
    return analysis.result()


def _captured(model: nn.Module, example: Example, kwargs: Mapping[str, Any] | None) -> Graph:
    args, named = example_inputs(example)
    return capture(model, args, {**named, **(kwargs or {})})


@dataclass
class Analysis:
    """One pass over a graph.

    Args:
        graph: what is analysed.
        algebra: unifies and freezes.
        rows: what dimension 0 of some parameters or buffers is, by canonical name.
    """

    graph: Graph
    algebra: Algebra = field(default_factory=Algebra)
    rows: Mapping[str, Expr] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    known: dict[Node, Result] = field(default_factory=dict)
    tensors: dict[str, Dims] = field(default_factory=dict)
    stand_ins: dict[Any, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.weights: Mapping[Node, str] = weight_names(self.graph)
        read = {node.name for node in self.graph.nodes if node.users}
        self.used = {name for node, name in self.graph.sources.items() if node in read}

    def visit(self, node: Node) -> None:
        """Works out the dimensions of a node's result."""
        self.algebra.operator = described(node)
        if node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor):
            self.known[node] = self._placeholder(node)
        elif node.op == "output":
            self.algebra.freeze(*self._entering(node))
            Call(node, self.algebra, self.notes, self.known, self.weights, self._size_of).freeze_pointed_at()
        elif node.op == "call_function":
            found = self._call(node)
            if found is not None:
                self.known[node] = found

    def result(self) -> Axes:
        """Returns what stayed free, and why the rest did not."""
        self._freeze_split_choices()
        resolved = Resolved(
            dims={node: self._resolve_all(found) for node, found in self.known.items()},
            tensors={name: self._resolve(dims) for name, dims in self.tensors.items()},
            sizes={
                key: self._resolve(exprs) if isinstance(exprs, tuple) else self.algebra.resolve(exprs)
                for key, exprs in self.notes.sizes.items()
            },
            statistics=tuple((node, self.algebra.resolve(expr)) for node, expr in self.notes.statistics),
        )
        return Axes(
            graph=self.graph,
            axes=tuple(self._axes(resolved)),
            frozen=tuple(self._frozen(resolved)),
            resolved=resolved,
        )

    def _freeze_split_choices(self) -> None:
        """Freezes what is chosen from where it turned out to be a product or a concatenation."""
        for expr, _ in self.notes.least:
            if not isinstance(self.algebra.resolve(expr), Atom):
                self.algebra.operator = "a choice from a dimension with structure"
                self.algebra.freeze(expr)

    def _placeholder(self, node: Node) -> Dims:
        name = self.graph.sources.get(node.name)
        shape = tuple(map(self._size_of, node.meta["val"].shape))
        if node.name in self.graph.program.graph_signature.user_inputs:
            return tuple(map(self.algebra.rigid, shape))
        if name is None:
            return tuple(map(self.algebra.fresh, shape))
        if name not in self.tensors:
            make = self.algebra.fresh if name in self.used else self.algebra.rigid
            known = [self.rows[name]] if name in self.rows else []
            self.tensors[name] = (*known, *map(make, shape[len(known) :]))
        return self.tensors[name]

    def _call(self, node: Node) -> Result | None:
        if node.target is operator.getitem:
            source, index = cast(tuple[Node, int], node.args)
            several = self.known.get(source)
            return several[index] if isinstance(several, list) else None
        shapes = self._shapes(node)
        if not shapes:
            return None
        rule = rule_for(node)
        call = Call(node, self.algebra, self.notes, self.known, self.weights, self._size_of)
        call.freeze_pointed_at()
        found = rule(call) if rule else None
        if found is None or [tuple(d.size for d in dims) for dims in _listed(found)] != shapes:
            self.algebra.freeze(*self._entering(node))
            results = [tuple(map(self.algebra.rigid, shape)) for shape in shapes]
            return results if isinstance(node.meta["val"], tuple | list) else results[0]
        return found

    def _entering(self, node: Node) -> Iterator[Expr]:
        for source in node.all_input_nodes:
            for dims in _listed(self.known.get(source, [])):
                yield from dims

    def _shapes(self, node: Node) -> list[tuple[int, ...]]:
        value = node.meta.get("val")
        results = value if isinstance(value, tuple | list) else (value,)
        return [tuple(map(self._size_of, t.shape)) for t in results if isinstance(t, Tensor)]

    def _size_of(self, size: Any) -> int:
        size = size.meta["val"] if isinstance(size, Node) else size
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        for symbol in sorted(expression.free_symbols, key=str):
            self.stand_ins.setdefault(symbol, BATCH_STAND_INS[len(self.stand_ins) % len(BATCH_STAND_INS)])
        return int(expression.subs(self.stand_ins))

    def _resolve(self, dims: Dims) -> Dims:
        return tuple(map(self.algebra.resolve, dims))

    def _resolve_all(self, found: Result) -> Result:
        return self._resolve(found) if isinstance(found, tuple) else [self._resolve(dims) for dims in found]

    def _axes(self, resolved: Resolved) -> Iterator[Axis]:
        slices: dict[Atom, list[AxisSlice]] = {}
        for name, dims in resolved.tensors.items():
            for d, expr in enumerate(dims):
                for atom in dict.fromkeys(atoms_in(expr)):
                    slices.setdefault(atom, []).append(AxisSlice(name, d, expr))
        roles = self._roles()
        known = [self.algebra.resolve(expr) for expr in self.rows.values()]
        statistics = _by_atom(resolved.statistics)
        taken: dict[str, int] = {}
        least = self._least()
        for atom, found in slices.items():
            trained = any(s.tensor in self.graph.parameters for s in found) or atom in known
            if atom in self.algebra.frozen or not trained:
                continue
            name = _name(found, resolved.tensors)
            taken[name] = taken.get(name, 0) + 1
            yield Axis(
                name=name if taken[name] == 1 else f"{name}#{taken[name]}",
                size=atom.size,
                kind=next((kind for kind in KINDS if kind in roles.get(atom, ())), "neurons"),
                slices=tuple(found),
                statistics=tuple(dict.fromkeys(described(node) for node in statistics.get(atom, ()))),
                atom=atom,
                least=least.get(atom, 1),
            )

    def _least(self) -> dict[Atom, int]:
        found: dict[Atom, int] = {}
        for expr, count in self.notes.least:
            for atom in atoms_in(self.algebra.resolve(expr)):
                found[atom] = max(count, found.get(atom, 1))
        return found

    def _roles(self) -> dict[Atom, set[str]]:
        roles: dict[Atom, set[str]] = {}
        for role, expr in self.notes.roles:
            for atom in atoms_in(self.algebra.resolve(expr)):
                roles.setdefault(atom, set()).add(role)
        return roles

    def _frozen(self, resolved: Resolved) -> Iterator[FrozenDim]:
        for name, dims in resolved.tensors.items():
            for d, expr in enumerate(dims):
                reasons = [self.algebra.frozen.get(atom) for atom in atoms_in(expr)]
                if reasons and None not in reasons:
                    yield FrozenDim(name, d, expr.size, tuple(dict.fromkeys(filter(None, reasons))))


def _listed(found: Result) -> list[Dims]:
    return found if isinstance(found, list) else [found]


def _by_atom(statistics: tuple[tuple[Node, Expr], ...]) -> dict[Atom, list[Node]]:
    found: dict[Atom, list[Node]] = {}
    for node, expr in statistics:
        for atom in atoms_in(expr):
            found.setdefault(atom, []).append(node)
    return found


def _name(slices: list[AxisSlice], dims: Mapping[str, Dims]) -> str:
    """Returns where an axis comes first, in a matrix if it is in any."""
    first = next((s for s in slices if len(dims[s.tensor]) > 1), slices[0])
    return f"{first.tensor}[{first.dim}]"


def described(node: Node) -> str:
    """Returns an operator with the module it is in, or what it is where it is none."""
    if node.op == "placeholder":
        return "the model's input" if node.users else "being unused"
    if node.op == "output":
        return "the model's output"
    module = module_of(node)
    return f"{target_of(node)} in {module}" if module else target_of(node)
