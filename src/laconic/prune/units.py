"""What `prune` may take away: kinds of axes, blocks, or both by the split that measures best."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import nn

from laconic.core.errors import ModelError, invalid
from laconic.core.task import Task
from laconic.graph import Graph
from laconic.graph.axes import Axis
from laconic.graph.example import Example, captured, example_inputs
from laconic.prune.depth import remove_blocks
from laconic.prune.depth_prices import Prices, batches_of
from laconic.prune.nearness import comparable
from laconic.prune.pruned import Pruned

KINDS = (
    *("channels", "neurons", "heads", "head width", "experts"),
    *("residual stream", "embedding width", "hidden state"),
)
"""Kinds of axes that can be asked for by name."""
SHARES = (0.0, 1 / 3, 2 / 3, 1.0)
"""Of what is saved, how much blocks may save: each is tried."""
PRICED_ON = 256
Narrow = Callable[[nn.Module, float], Pruned]


class Units(NamedTuple):
    """What may go.

    Args:
        kinds: of axes; empty: none. None: all.
        blocks: whether blocks may go.
    """

    kinds: tuple[str, ...] | None
    blocks: bool

    @classmethod
    def of(cls, units: Sequence[str] | None) -> Units:
        """Reads what the user wrote: kinds of axes, `axes` for all of them, `blocks`; None: all axes.

        Raises:
            UsageError: a name is none of these, or there is none.
        """
        if units is None:
            return cls(None, blocks=False)
        listed = [units] if isinstance(units, str) else list(units)
        wrong = [unit for unit in listed if unit not in (*KINDS, "axes", "blocks")]
        if wrong or not listed:
            shown = ", ".join(map(repr, (*KINDS, "axes", "blocks")))
            raise invalid("prune.units", wrong[0] if wrong else units, f"some of {shown}")
        kinds = tuple(unit for unit in listed if unit in KINDS)
        return cls(None if "axes" in listed else kinds, blocks="blocks" in listed)

    def among(self, free: Sequence[Axis]) -> list[Axis]:
        """Returns the axes of these kinds.

        Raises:
            ModelError: there are none.
        """
        found = [axis for axis in free if self.kinds is None or axis.kind in self.kinds]
        if not found:
            kinds = ", ".join(dict.fromkeys(axis.kind for axis in free))
            raise ModelError(
                f"prune: no axis that can be cut is one of {', '.join(self.kinds or ())}; there are {kinds}."
            )
        return found


def jointly(
    model: nn.Module,
    data: Example,
    narrow: Narrow,
    *,
    ratio: float,
    of: Literal["macs", "parameters"],
    keep: Sequence[str],
    compensate: Literal["weights", "statistics"] | None,
    samples: int,
    graph: Graph | None,
) -> Pruned:
    """Removes blocks first and narrows what is left, at the split between both that comes out nearest to the original.

    Prices of blocks are measured and those of slices predicted, so that they cannot be ranked in one list: none, a
    third, two thirds and all of the saving are left to blocks, and of the finished models the best is returned.

    Args:
        model: the original.
        data: a task or example inputs.
        narrow: prunes axes of a model that may lack some of the original's parameters.
        ratio: to be saved by both together.
        of: what it counts.
        keep: patterns of parameter names.
        compensate: whether what remains is fitted.
        samples: for fitting.
        graph: captured from the model.
    """
    args, kwargs = example_inputs(data)
    graph = graph or captured(model, data)
    task = data if isinstance(data, Task) else None
    device = next((p.device for p in graph.parameters.values()), torch.device("cpu"))
    prices = Prices(graph, task, batches_of(task or (args, kwargs), device, PRICED_ON))
    order = tuple(
        remove_blocks(model, data, ratio=ratio, of=of, keep=keep, compensate=None, renumber=False, graph=graph).removed
    )
    tried = [*_narrowed(narrow, model, ratio)]
    for count in sorted({round(share * len(order)) for share in SHARES} - {0}):
        shorter = remove_blocks(
            model, data, names=order[:count], compensate=compensate, samples=samples, renumber=False, graph=graph
        )
        kept = shorter.macs_ratio if of == "macs" else shorter.parameters_ratio
        left = 1 - (1 - ratio) / kept
        if left > 0:
            tried += [together(shorter, narrower) for narrower in _narrowed(narrow, shorter.model, left)]
        if left <= 0 or not tried:
            tried.append(shorter)
    if not tried:
        return narrow(model, ratio)
    saved = [1 - (found.macs_ratio if of == "macs" else found.parameters_ratio) for found in tried]
    return min(comparable(tried, saved, ratio), key=lambda found: prices.of_model(found.model))


def _narrowed(narrow: Narrow, model: nn.Module, ratio: float) -> list[Pruned]:
    """Returns a narrower model; nothing where what is left of the model has no axis that may be cut."""
    try:
        return [narrow(model, ratio)]
    except ModelError:
        return []


def present(patterns: Sequence[str], model: nn.Module) -> list[str]:
    """Returns the patterns that still match a parameter."""
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    return [pattern for pattern in patterns if fnmatch.filter(names, pattern)]


def together(shorter: Pruned, narrower: Pruned) -> Pruned:
    """Returns one record of two steps."""
    second = replace(
        narrower,
        plan=shorter.plan + narrower.plan,
        before=shorter.before,
        removed=shorter.removed,
        original=shorter.axes,
    )
    if shorter.kind == "module":
        return replace(second, error=max(shorter.error, narrower.error))
    return replace(second, kind="graph", why=shorter.why, error=max(shorter.error, narrower.error))
