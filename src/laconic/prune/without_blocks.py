"""A model without some of its blocks: the user's own module where it can do without them, else the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from laconic.core.apply import apply
from laconic.core.edit import Cut, Slice
from laconic.core.errors import ModelError
from laconic.core.plan import Plan
from laconic.graph import Costs, Graph, capture, costs
from laconic.graph.blocks import Block, freed
from laconic.graph.shortening import replacements, shorten, shortening_error
from laconic.prune.agreement import agreement, tolerance
from laconic.prune.any_size import elsewhere, of_any_size, same_blocks
from laconic.prune.depth_swaps import swaps
from laconic.prune.rewriting import Rewriting, rewritings_of
from laconic.prune.smaller import Smaller, as_graph, one_size_only, tried


def without_blocks(
    model: nn.Module, graph: Graph, removed: Sequence[Block], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Smaller:
    """Returns the user's own module without some blocks where it can do without them, else the graph.

    Args:
        model: the original.
        graph: captured from it.
        removed: blocks of the graph.
        args: positional inputs of the proof.
        kwargs: named inputs of the proof.

    Raises:
        ModelError: the proof fails.
    """
    case, shorter = _Case(model, graph, removed, args, kwargs), shorten(graph, removed)
    limit, error = tolerance(model), case.distance(shorter)
    if not error <= limit:
        names = ", ".join(block.name for block in removed)
        raise ModelError(
            f"remove_blocks: {type(model).__name__} without {names} is {error:.2g} away from the original with zeros "
            f"there, expected at most {limit:.1g}; nothing is returned. Please report this model."
        )
    aim, why, first = costs(capture(shorter, args, kwargs)), "", Plan()
    for plan in swaps(model, graph, removed, args, kwargs):
        own = apply(model, plan)
        first = first if len(first) else plan
        found, why = tried(own, case.distance, "without these blocks")
        if found <= agreement(model, error):
            why = _more_than(own, aim, args, kwargs)
            if not why:
                return Smaller(own, plan, "module", "", found)
    try:
        written = case.of_any_size(first) or case.of_one_size(first)
    except ModelError as failure:
        note = str(failure)
    else:
        if written is not None:
            return written._replace(why=why)
        note = "its calls, written down and read back, compute something else."
    return Smaller(shorter, first, "graph", why, error, (f"this graph cannot be saved: {note}",))


@dataclass(frozen=True, eq=False)
class _Case:
    """Blocks that go, and the inputs on which that is proven: see `without_blocks`."""

    model: nn.Module
    graph: Graph
    removed: Sequence[Block]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def of_one_size(self, first: Plan) -> Smaller | None:
        """Returns a graph without the blocks, after some swaps, that takes the sizes of the example alone."""
        found = as_graph(self.model, _rewritings(self.model, first, self.graph, self.removed), [self.distance])
        return found and found._replace(notes=(*found.notes, *one_size_only(self.graph)))

    def of_any_size(self, first: Plan) -> Smaller | None:
        """Returns one that takes sizes that change as they come, where that can be proven."""
        whole = of_any_size(self.model, self.graph, self.args, self.kwargs)
        same = whole and same_blocks(whole, self.removed)
        others = [case.distance for case in self._elsewhere()] if same else []
        if not whole or not same or not others:
            return None
        return as_graph(self.model, _rewritings(self.model, first, whole, same), [self.distance, *others])

    def distance(self, smaller: nn.Module) -> float:
        """Returns how far a smaller model is from the original with zeros in the place of the blocks."""
        return shortening_error(self.graph, self.removed, smaller, self.args, self.kwargs)

    def _elsewhere(self) -> Iterator[_Case]:
        """Yields the same at other sizes of the inputs."""
        for graph, args, kwargs in elsewhere(self.model, self.graph, self.args, self.kwargs):
            if same := same_blocks(graph, self.removed):
                yield replace(self, graph=graph, removed=same, args=args, kwargs=kwargs)


def _rewritings(model: nn.Module, first: Plan, graph: Graph, removed: Sequence[Block]) -> Iterator[Rewriting]:
    plan = first + _emptied(model, first, graph, removed)
    return rewritings_of(model, plan, lambda: shorten(graph, removed))


def _emptied(model: nn.Module, plan: Plan, graph: Graph, removed: Sequence[Block]) -> Plan:
    """Returns cuts to nothing of the parameters that no module took along: the user's modules hold them directly."""
    held = dict(apply(model, plan).named_parameters(remove_duplicate=False))
    names = [name for name in freed(graph, replacements(removed)) if name in held and held[name].dim()]
    nothing = torch.zeros(0, dtype=torch.int64)
    return Plan.of(Cut(axis=f"{name}[0]", slices=(Slice(name, 0, nothing),)) for name in names)


def _more_than(own: nn.Module, aim: Costs, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Returns what the user's module still holds or computes of removed blocks, in words; empty if nothing."""
    try:
        got = costs(capture(own, args, kwargs))
    except ModelError as failure:
        return f"its own code cannot be exported without these blocks: {failure}"
    parameters, macs = got.parameter_count - aim.parameter_count, got.macs - aim.macs
    if parameters > 0 or macs > 0:
        return f"its own code still holds {parameters:,} parameters and computes {macs:,} MACs of these blocks"
    return ""
