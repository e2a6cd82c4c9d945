"""A model without some of its blocks: the user's own module where it can do without them, else the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from laconic.core.apply import apply
from laconic.core.edit import Cut, Slice
from laconic.core.errors import LaconicError, ModelError
from laconic.core.plan import Plan
from laconic.graph import Costs, Graph, capture, costs
from laconic.graph.blocks import Block, freed
from laconic.graph.failure import first_line
from laconic.graph.shortening import replacements, shorten, shortening_error
from laconic.prune.agreement import agreement, tolerance
from laconic.prune.any_size import elsewhere, of_any_size, same_blocks
from laconic.prune.cutting import Smaller, one_size_only
from laconic.prune.depth_swaps import swaps
from laconic.prune.rewriting import Rewriting, rewritings_of


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
    shorter = shorten(graph, removed)
    limit, error = tolerance(model), shortening_error(graph, removed, shorter, args, kwargs)
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
        found, why = _tried(own, graph, removed, args, kwargs)
        if found <= agreement(model, error):
            why = _more_than(own, aim, args, kwargs)
            if not why:
                return Smaller(own, plan, "module", "", found)
    try:
        found_graph = _any_size(model, first, graph, removed, args, kwargs) or _one_size(
            model, first, graph, removed, args, kwargs
        )
    except ModelError as failure:
        note = str(failure)
    else:
        if found_graph is not None:
            return found_graph._replace(why=why)
        note = "its calls, written down and read back, compute something else."
    return Smaller(shorter, first, "graph", why, error, (f"this graph cannot be saved: {note}",))


def _one_size(
    model: nn.Module,
    first: Plan,
    graph: Graph,
    removed: Sequence[Block],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Smaller | None:
    """Returns a graph without the blocks that takes the sizes of the example alone."""
    for plan, notes in _rewritings(model, first, graph, removed):
        rewritten = apply(model, plan)
        error, _ = _tried(rewritten, graph, removed, args, kwargs)
        if error <= tolerance(model):
            return Smaller(rewritten, plan, "graph", "", error, (*notes, *one_size_only(graph)))
    return None


def _any_size(
    model: nn.Module,
    first: Plan,
    graph: Graph,
    removed: Sequence[Block],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Smaller | None:
    """Returns a graph without the blocks that takes sizes that change as they come, where that can be proven."""
    whole = of_any_size(model, graph, args, kwargs)
    same = whole and same_blocks(whole, removed)
    if not whole or not same:
        return None
    places: list[tuple[Graph, Sequence[Block], Sequence[Any], Mapping[str, Any]]] = [(graph, removed, args, kwargs)]
    for there, others, named in elsewhere(model, graph, args, kwargs):
        blocks_there = same_blocks(there, removed)
        places += [(there, blocks_there, others, named)] if blocks_there else []
    for plan, notes in _rewritings(model, first, whole, same):
        rewritten = apply(model, plan)
        errors = [_tried(rewritten, *place)[0] for place in places]
        if len(places) > 1 and all(error <= tolerance(model) for error in errors):
            return Smaller(rewritten, plan, "graph", "", max(errors), notes)
    return None


def _rewritings(model: nn.Module, first: Plan, graph: Graph, removed: Sequence[Block]) -> Iterator[Rewriting]:
    plan = first + _emptied(model, first, graph, removed)
    return rewritings_of(model, plan, lambda: shorten(graph, removed))


def _emptied(model: nn.Module, plan: Plan, graph: Graph, removed: Sequence[Block]) -> Plan:
    """Returns cuts to nothing of the parameters that no module took along: the user's modules hold them directly."""
    held = dict(apply(model, plan).named_parameters(remove_duplicate=False))
    names = [name for name in freed(graph, replacements(removed)) if name in held and held[name].dim()]
    nothing = torch.zeros(0, dtype=torch.int64)
    return Plan.of(Cut(axis=f"{name}[0]", slices=(Slice(name, 0, nothing),)) for name in names)


def _tried(
    own: nn.Module, graph: Graph, removed: Sequence[Block], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[float, str]:
    """Returns how far the user's module is from the proof's reference, and what to say where it is too far."""
    modes = {module: module.training for module in own.modules()}
    try:
        error = shortening_error(graph, removed, own.eval(), args, kwargs)
    except LaconicError:
        raise
    except Exception as failure:  # The user's code, with modules that it did not expect: it may raise anything.
        return float("inf"), f"its own code does not run without these blocks: {first_line(failure)}"
    finally:
        for module, training in modes.items():
            module.training = training
    return error, f"its own code computes something else without these blocks (off by {error:.2g})"


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
