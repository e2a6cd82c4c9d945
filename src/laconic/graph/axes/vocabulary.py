"""The ids of a look-up table as an axis: its rows, and the outputs of a language model that predict ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.fx import Node

from laconic.core.errors import ModelError, invalid
from laconic.graph.axes.algebra import Algebra
from laconic.graph.axes.analysis import Analysis, described
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import Atom, atoms_in
from laconic.graph.axes.result import Axes, Axis
from laconic.graph.capture import Graph
from laconic.graph.lookups import Lookup, lookups


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """A set of ids: the tables that have a row for each, the inputs that carry them, the outputs that predict them.

    Args:
        axes: the analysis in which ids can be cut.
        axis: the ids.
        lookups: where they are looked up.
        sources: positions among the model's flattened inputs of those that carry ids.
        outputs: the dimensions of each tensor that the model returns.
    """

    axes: Axes
    axis: Axis
    lookups: tuple[Lookup, ...]
    sources: tuple[int, ...]
    outputs: tuple[Dims, ...]

    @property
    def predicted(self) -> bool:
        """Whether an output has an entry for each id."""
        return any(self.axis.atom in atoms_in(expr) for dims in self.outputs for expr in dims)


def vocabulary(graph: Graph, table: str | None = None, *, outputs: bool | None = None) -> Vocabulary:
    """Finds the tables that share their ids, and everything else that has an entry for each of them.

    Args:
        graph: the model.
        table: a parameter or buffer that inputs index; None: the one with the most rows.
        outputs: whether a model's output whose last dimension has as many entries is over the same ids, though another
            weight makes it. None: if it has such entries for every position of the ids.

    Raises:
        UsageError: no input indexes the table of that name.
        ModelError: no input indexes any, or the rows cannot be cut; says which operator forbids it.
    """
    found = lookups(graph)
    group, sources = _sharing(graph, found, _chosen(graph, found, table))
    rows = Atom(group[0].rows)
    analysis = Analysis(graph, Algebra(rows), dict.fromkeys((lookup.table for lookup in group), rows))
    analysis.notes.roles.append(("vocabulary", rows))
    for node in graph.nodes:
        if node.op == "output":
            _join_outputs(analysis, node, rows, sources, outputs)
        analysis.visit(node)
    axes = analysis.result()
    name = group[0].table
    atom = analysis.algebra.resolve(rows)
    if not isinstance(atom, Atom):
        raise ModelError(f"vocabulary: the rows of {name} are taken apart inside the model; they cannot be cut.")
    allowed = {"the model's output", *(described(lookup.node) for lookup in group)}
    if refused := [reason for reason in analysis.algebra.refused if reason not in allowed]:
        raise ModelError(f"vocabulary: the rows of {name} cannot be cut, because of {refused[0]}.")
    return Vocabulary(
        axes=axes,
        axis=next(axis for axis in axes if axis.atom is atom),
        lookups=group,
        sources=sources,
        outputs=tuple(_returned(analysis, next(n for n in graph.nodes if n.op == "output"))),
    )


def _chosen(graph: Graph, found: Sequence[Lookup], table: str | None) -> Lookup:
    direct = [lookup for lookup in found if lookup.source is not None]
    if table is not None:
        named = next((names[0] for names in graph.aliases.values() if table in names), table)
        for lookup in direct:
            if lookup.table == named:
                return lookup
        raise invalid("vocabulary.table", table, "a table that an input indexes", _known(direct))
    if not direct:
        inside = ", ".join(dict.fromkeys(lookup.table for lookup in found))
        why = f"the indices of {inside} are computed inside it" if inside else "it looks nothing up"
        raise ModelError(f"vocabulary: no input of {graph.name} indexes a table: {why}. Pass a model that takes ids.")
    return max(direct, key=lambda lookup: lookup.rows)


def _known(direct: Sequence[Lookup]) -> str:
    names = dict.fromkeys(lookup.table for lookup in direct)
    return f"There is {', '.join(names)}." if names else "There is none."


def _sharing(graph: Graph, found: Sequence[Lookup], first: Lookup) -> tuple[tuple[Lookup, ...], tuple[int, ...]]:
    """Returns all look-ups in tables that share ids with the first, and the inputs that carry these."""
    tables, sources = {first.table}, {first.source}
    for _ in found:
        tables |= {lookup.table for lookup in found if lookup.source in sources}
        sources |= {lookup.source for lookup in found if lookup.table in tables}
    group = tuple(lookup for lookup in found if lookup.table in tables)
    for lookup in group:
        if lookup.source is None:
            raise ModelError(
                f"vocabulary: {lookup.table} is indexed by what {graph.name} computes, too "
                f"({lookup.node.name}): any row may be needed."
            )
        if lookup.rows != first.rows:
            raise ModelError(
                f"vocabulary: the same ids index {first.table} with {first.rows:,} rows and {lookup.table} with "
                f"{lookup.rows:,}; expected as many."
            )
    return group, tuple(sorted(source for source in sources if source is not None))


def _join_outputs(analysis: Analysis, node: Node, rows: Atom, sources: tuple[int, ...], wanted: bool | None) -> None:
    inputs = analysis.graph.program.graph_signature.user_inputs
    named = {n.name: n for n in analysis.graph.nodes if n.op == "placeholder"}
    shapes = [tuple(d.size for d in _listed(analysis, named[str(inputs[source])])) for source in sources]
    for dims in _returned(analysis, node):
        sizes = tuple(dim.size for dim in dims)
        every_position = sizes[:-1] in shapes
        if sizes and sizes[-1] == rows.size and (every_position if wanted is None else wanted):
            analysis.algebra.unify(dims[-1], rows)


def _listed(analysis: Analysis, node: Node) -> Dims:
    found = analysis.known[node]
    return found if isinstance(found, tuple) else ()


def _returned(analysis: Analysis, node: Node) -> list[Dims]:
    (returned,) = node.args
    listed = returned if isinstance(returned, tuple | list) else (returned,)
    tensors = [source for source in listed if isinstance(source, Node) and isinstance(source.meta["val"], Tensor)]
    return [tuple(map(analysis.algebra.resolve, _listed(analysis, source))) for source in tensors]
