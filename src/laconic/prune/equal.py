"""The same size for alike layers: what a configuration with one number for all of them can describe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from laconic.graph.axes import Axes, Axis
from laconic.prune.choice import CLOSE, Candidates, Sizes
from laconic.prune.configuration import describable, has_config

OVERSHOOT = 0.02
"""What the last step may save beyond what is wanted, as a fraction of it."""
STEPS = 64
"""Into so many an axis is divided while much is still to be saved."""


def equal_sizes(candidates: Candidates, ratio: float, model: nn.Module, axes: Axes) -> Sizes:
    """Returns sizes at which the fraction `ratio` of the whole is saved, the same for all axes of one kind and size.

    Axes that are alike shrink together, the set with the lowest sum of prices per saving first. Where the model has a
    config, sets that it cannot describe are left alone.

    Args:
        candidates: what may be cut.
        ratio: of what `candidates.savings` measures.
        model: the original.
        axes: its analysis.
    """
    wanted = ratio * candidates.savings.total
    sets = [found for found in _alike(candidates.removals) if not has_config(model) or describable(model, axes, found)]
    sizes: Sizes = {}
    left = wanted
    while left > CLOSE * wanted:
        steps = [found for axes in sets if (found := _step(candidates, axes, sizes, left, OVERSHOOT * wanted))]
        if not steps:
            break
        _, gain, taken = min(steps, key=lambda step: step[0])
        sizes |= taken
        left -= gain
    return sizes


def _alike(axes: Iterable[Axis]) -> Iterator[list[Axis]]:
    sets: dict[tuple[str, int], list[Axis]] = {}
    for axis in axes:
        sets.setdefault((axis.kind, axis.size), []).append(axis)
    yield from sets.values()


def _step(
    candidates: Candidates, axes: Sequence[Axis], sizes: Sizes, left: float, over: float
) -> tuple[float, float, Sizes] | None:
    """Returns price per saving, saving and sizes of a set's next step, a large one where it does not save too much."""
    size = sizes.get(axes[0].atom, axes[0].size)
    before = candidates.savings.amount(sizes)
    for least in (max(1, axes[0].size // STEPS), 1):
        smaller = _below(candidates, axes, size, size - least)
        if smaller is None:
            continue
        taken = {axis.atom: smaller for axis in axes}
        gain = before - candidates.savings.amount({**sizes, **taken})
        price = sum(candidates.price(axis, size, smaller) for axis in axes)
        if 0 < gain <= left + over and math.isfinite(price):
            return price / gain, gain, taken
    return None


def _below(candidates: Candidates, axes: Sequence[Axis], size: int, most: int) -> int | None:
    """Returns the largest size of at most `most` that all axes of a set may have."""
    while size > most:
        found = [candidates.below(axis, size) for axis in axes]
        known = [smaller for smaller in found if smaller is not None]
        if len(known) < len(axes):
            return None
        size = min(known)
    return size if all(size >= candidates.floor(axis) for axis in axes) else None
