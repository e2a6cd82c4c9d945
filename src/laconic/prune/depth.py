"""A shallower model in one call: whole blocks go, and what remains is fitted and proven."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from laconic.core.errors import ModelError, check_fraction, check_whole, invalid
from laconic.core.task import Task
from laconic.graph import Costs, Graph, capture, costs
from laconic.graph.axes import Axes, axes
from laconic.graph.blocks import Block, blocks
from laconic.graph.example import Example, captured, example_inputs, fitting
from laconic.graph.shortening import shorten
from laconic.prune.configuration import has_config
from laconic.prune.depth_choice import BlockMeasure, BlockSavings, Chosen, choose_blocks
from laconic.prune.depth_prices import Prices, batches_of
from laconic.prune.listed_experts import listed_experts, without_experts
from laconic.prune.nearness import missed
from laconic.prune.pruned import Pruned
from laconic.prune.refit import refit
from laconic.prune.renumbered import renumbered
from laconic.prune.smaller import Smaller, refitted
from laconic.prune.without_blocks import without_blocks


def remove_blocks(
    model: nn.Module,
    data: Example,
    *,
    ratio: float | None = None,
    count: int | None = None,
    names: Sequence[str] | None = None,
    of: Literal["macs", "parameters"] = "macs",
    keep: Sequence[str] = (),
    compensate: Literal["weights", "statistics"] | None = "weights",
    samples: int = 1024,
    priced_on: int = 256,
    renumber: bool = True,
    graph: Graph | None = None,
    most: float = math.inf,
) -> Pruned:
    """Leaves whole blocks out: branches of residual streams, and layers whose output has their input's shape.

    Blocks are found from the graph (`laconic.graph.blocks`), and priced by leaving each out: with a task in nats, with
    example inputs by the relative change of the outputs. The one with the lowest price for each unit saved goes first,
    then the prices are measured again. A branch's result then counts as zero, a layer's input is its output. Where
    nothing but experts of a module list goes, the router loses their rows and can no longer choose them.

    Args:
        model: a trained model; left untouched.
        data: a `Task`, whose calibration data is read without labels; or example inputs.
        ratio: the fraction to save, in `[0, 1)`; or
        count: how many blocks to remove, the cheapest whatever they save; or
        names: which blocks to remove, or which experts of module lists. Exactly one of the three.
        of: what `ratio` counts.
        keep: patterns (`*`, `?`) of parameter names; a block that would lose such a parameter stays.
        compensate: with a task, fit what remains to the original's activations (see `refit`): `"weights"`, biases and
            batch-norm statistics; `"statistics"` alone; or None, nothing.
        samples: at most so many are read for fitting.
        priced_on: at most so many are read for prices.
        renumber: where the model has a Hugging Face config and nothing but whole members of a module list goes, they
            leave the list, so that the config can say how many there are. Those after them have other names then.
        graph: of an earlier `capture`.
        most: nats that may be lost before what remains is fitted.

    Raises:
        UsageError: a number is outside its domain, or a name or pattern matches nothing.
        ModelError: the model cannot be captured, no block can be removed, the proof fails, or more than `most` is lost.

    Guarantees:
        The original is left as it was. Equal arguments give equal plans.
        Parameters and products of what is removed are gone from the result, be it the user's own module or a graph.

    Reference:
        Veit, Wilber and Belongie 2016, arXiv:1605.06431, section 4.1 (residual networks without single blocks); the
        price is measured as in Men et al. 2024, arXiv:2403.03853, section 4.4, with greedy removal.

    Example:
        >>> class Residual(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner = nn.Linear(4, 4)
        ...     def forward(self, x):
        ...         return x + self.inner(x)
        >>> model = nn.Sequential(nn.Linear(3, 4), Residual(), Residual(), nn.Linear(4, 2))
        >>> print(remove_blocks(model, torch.randn(5, 3), names=["1"]))
        Pruned: 69.2% of the MACs, 69.7% of the parameters, the model's own class
          1: removed
    """
    _check(ratio, count, names, of, compensate, samples, priced_on)
    task = data if isinstance(data, Task) else None
    args, kwargs = example_inputs(data)
    graph = graph or captured(model, data)
    device = next((p.device for p in graph.parameters.values()), torch.device("cpu"))
    prices = Prices(graph, task, batches_of(task or (args, kwargs), device, priced_on))
    found = axes(graph)
    routed = _without_experts(model, found, names or (), args, kwargs)
    chosen = Chosen() if routed else _chosen(graph, prices, ratio, count, names, of, keep)
    if sum(chosen.prices) > most:
        raise ModelError(f"remove_blocks: costs {sum(chosen.prices):.2g} nats before what remains is fitted.")
    routed = routed or _without_experts(model, found, [block.name for block in chosen.blocks], args, kwargs)
    shallower = routed or without_blocks(model, graph, chosen.blocks, args, kwargs)
    removed = {block.name: price for block, price in zip(chosen.blocks, chosen.prices, strict=True)}
    if routed and not removed:
        removed = {", ".join(names or ()): prices.of_model(routed.model)}
    if routed is None and task is not None and chosen.blocks and compensate is not None:
        inputs = [(batch.args, batch.kwargs) for batch in fitting(graph, batches_of(task, device, samples))]
        fitted = refit(found, {}, inputs, weights=compensate == "weights", shorter=shorten(graph, chosen.blocks))
        shallower = refitted(model, shallower, fitted)
    if renumber and routed is None and chosen.blocks and has_config(model):
        shallower = renumbered(model, shallower, args, kwargs)
    after = costs(capture(shallower.model, args, kwargs))
    before = costs(graph)
    return Pruned(
        model=shallower.model,
        plan=shallower.plan,
        kind=shallower.kind,
        why=shallower.why,
        error=shallower.error,
        axes=found,
        keep={},
        removed=removed,
        before=before,
        after=after,
        notes=(*_notes(before, after, ratio, of), *shallower.notes),
    )


def _without_experts(
    model: nn.Module, found: Axes, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Smaller | None:
    """Returns the model without some experts of lists and their rows in the routers; None if anything else goes."""
    gone = {mixture: away for mixture in listed_experts(model, found) if (away := mixture.among(names))}
    if not gone or sum(map(len, gone.values())) < len(set(names)):
        return None
    return without_experts(model, found, gone, args, kwargs)


def _chosen(
    graph: Graph,
    prices: Prices,
    ratio: float | None,
    count: int | None,
    names: Sequence[str] | None,
    of: BlockMeasure,
    keep: Sequence[str],
) -> Chosen:
    found = blocks(graph)
    if not found:
        raise ModelError(f"remove_blocks: {graph.name} has no branch or layer that it could do without.")
    free = free_blocks(graph, found, keep)
    if names is not None:
        chosen = [_named(found, name) for name in names]
        steps = [prices.of(chosen[:i]) for i in range(len(chosen) + 1)]
        return Chosen(chosen, [after - before for before, after in pairwise(steps)])
    savings = BlockSavings(graph, "blocks" if count is not None else of)
    wanted = float(count) if count is not None else (ratio or 0.0) * savings.total
    return choose_blocks(free, prices.of, savings, wanted)


def free_blocks(graph: Graph, found: Sequence[Block], keep: Sequence[str]) -> list[Block]:
    """Returns the blocks that no pattern keeps."""
    known = [name for aliases in graph.aliases.values() for name in aliases]
    for pattern in keep:
        if not fnmatch.filter(known, pattern):
            near = ", ".join(difflib.get_close_matches(pattern, known, n=3, cutoff=0.3))
            raise invalid("remove_blocks.keep", pattern, "a pattern that matches a parameter", f"Near ones: {near}.")
    read = {block: [name for p in block.parameters for name in graph.aliases[p]] for block in found}
    return [block for block in found if not any(fnmatch.filter(read[block], pattern) for pattern in keep)]


def _named(found: Sequence[Block], name: str) -> Block:
    for block in found:
        if block.name == name:
            return block
    listed = [block.name for block in found]
    near = difflib.get_close_matches(name, listed, n=3, cutoff=0.3) or listed[:3]
    raise invalid("remove_blocks.names", name, "the name of a block", f"Near ones: {', '.join(near)}.")


def _check(
    ratio: float | None,
    count: int | None,
    names: Sequence[str] | None,
    of: str,
    compensate: str | None,
    samples: int,
    priced_on: int,
) -> None:
    if sum(asked is not None for asked in (ratio, count, names)) != 1:
        given = {"ratio": ratio, "count": count, "names": names}
        raise invalid("remove_blocks", given, "exactly one of ratio, count and names")
    if ratio is not None:
        check_fraction("remove_blocks.ratio", ratio)
    if of not in ("macs", "parameters"):
        raise invalid("remove_blocks.of", of, "'macs' or 'parameters'")
    if compensate not in ("weights", "statistics", None):
        raise invalid("remove_blocks.compensate", compensate, "'weights', 'statistics' or None")
    for name, number in (("count", count), ("samples", samples), ("priced_on", priced_on)):
        if number is not None:
            check_whole(f"remove_blocks.{name}", number, 1)


def _notes(before: Costs, after: Costs, ratio: float | None, of: str) -> list[str]:
    whole, left = (before.macs, after.macs) if of == "macs" else (before.parameter_count, after.parameter_count)
    saved = 1 - left / whole if whole else 0.0
    return [] if ratio is None else missed(ratio, saved, of=of, by="blocks")
