"""Which indices go: the cheapest price for each unit saved, until enough is saved."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from laconic.core.errors import invalid
from laconic.graph.axes import Axis
from laconic.graph.axes.expression import Atom
from laconic.prune.importance.removal import Removal
from laconic.prune.limits import NO_LIMITS, Limits
from laconic.prune.savings import Savings

Scope = Literal["global", "layer", "kind", "equal"]
Sizes = dict[Atom, int]
Gained = Callable[[Axis, Sizes, int], float]
HALVINGS = 20
CLOSE = 0.005
"""What may be missing of the wanted saving."""
OVERSHOOT = 0.02
"""What a step may save beyond the wanted saving as long as there is another."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What may be cut.

    Args:
        removals: how each axis shrinks.
        savings: what counts.
        limits: what each axis may come to.
    """

    removals: Mapping[Axis, Removal]
    savings: Savings
    limits: Limits = NO_LIMITS

    def floor(self, axis: Axis) -> int:
        """Returns the smallest size an axis may come to."""
        able = int(self.removals[axis].price.isfinite().sum())
        return max(axis.least, axis.size - able, math.ceil(self.limits.least_of(axis) * axis.size))

    def below(self, axis: Axis, size: int) -> int | None:
        """Returns the next smaller size an axis may have, or None."""
        smaller = self.limits.below(axis, size)
        return smaller if smaller >= self.floor(axis) else None

    def price(self, axis: Axis, size: int, smaller: int) -> float:
        """Returns what it costs to take an axis from one size to a smaller one."""
        return float(self.removals[axis].price[axis.size - size : axis.size - smaller].sum())

    def kept(self, sizes: Mapping[Atom, int]) -> dict[Axis, Tensor]:
        """Returns the kept indices, ascending, of every axis that shrinks."""
        shrunk = {axis: sizes.get(axis.atom, axis.size) for axis in self.removals}
        return {
            axis: self.removals[axis].order[axis.size - size :].sort().values
            for axis, size in shrunk.items()
            if size < axis.size
        }


def choose(candidates: Candidates, ratio: float, scope: Scope) -> Sizes:
    """Returns the sizes at which the fraction `ratio` of the whole is saved, as nearly as steps allow.

    Args:
        candidates: what may be cut.
        ratio: of what `candidates.savings` measures.
        scope: `global` ranks all indices by price per saving; `layer` takes the same fraction of every axis; `kind` the
            same fraction of the slices of every kind, ranked inside it.
    """
    wanted = ratio * candidates.savings.total
    axes = list(candidates.removals)
    if scope == "global":
        return _cheapest(candidates, axes, candidates.savings.gained, wanted)
    if scope == "layer":
        return _same_fraction(candidates, wanted, lambda fraction: _of_each(candidates, axes, fraction))
    if scope == "kind":
        return _same_fraction(candidates, wanted, lambda fraction: _of_each_kind(candidates, axes, fraction))
    raise invalid("prune.scope", scope, "'global', 'layer', 'kind' or 'equal'")


def _cheapest(candidates: Candidates, axes: Sequence[Axis], gained: Gained, wanted: float) -> Sizes:
    """Takes the lowest price per saving first; a step that saves far too much waits until no other is left."""
    sizes: Sizes = {}
    left = wanted
    waiting = [(0.0, i) for i in range(len(axes))]  # Zero forces a look at each.
    large: list[Axis] = []
    while waiting and left > CLOSE * wanted:
        _, i = heapq.heappop(waiting)
        axis = axes[i]
        smaller, gain = _next(candidates, axis, gained, sizes)
        if gain > left + OVERSHOOT * wanted:
            large.append(axis)
        if smaller is None or gain <= 0 or gain > left + OVERSHOOT * wanted:
            continue
        rate = candidates.price(axis, sizes.get(axis.atom, axis.size), smaller) / gain
        if waiting and rate > waiting[0][0]:
            heapq.heappush(waiting, (rate, i))  # Others have shrunk since it was last looked at.
            continue
        sizes[axis.atom] = smaller
        left -= gain
        heapq.heappush(waiting, (0.0, i))
    return sizes if left <= CLOSE * wanted else sizes | _nearest(candidates, large, gained, sizes, left)


def _next(candidates: Candidates, axis: Axis, gained: Gained, sizes: Sizes) -> tuple[int | None, float]:
    """Returns the next smaller size of an axis, and what it saves."""
    smaller = candidates.below(axis, sizes.get(axis.atom, axis.size))
    return smaller, 0.0 if smaller is None else gained(axis, sizes, smaller)


def _nearest(candidates: Candidates, axes: Sequence[Axis], gained: Gained, sizes: Sizes, left: float) -> Sizes:
    """Returns the one step that comes nearer to what is still wanted than no step, if there is one."""
    steps = [(axis, *_next(candidates, axis, gained, sizes)) for axis in axes]
    axis, smaller, gain = min(steps, key=lambda step: abs(left - step[2]), default=(None, None, 0.0))
    return {} if axis is None or smaller is None or gain >= 2 * left else {axis.atom: smaller}


def _of_each(candidates: Candidates, axes: Sequence[Axis], fraction: float) -> Sizes:
    return {axis.atom: size for axis in axes if (size := _shrunk(candidates, axis, fraction)) < axis.size}


def _shrunk(candidates: Candidates, axis: Axis, fraction: float) -> int:
    """Returns the allowed size nearest to what a fraction leaves of an axis."""
    wanted = (1 - fraction) * axis.size
    size = axis.size
    while (smaller := candidates.below(axis, size)) is not None and abs(smaller - wanted) <= abs(size - wanted):
        size = smaller
    return size


def _of_each_kind(candidates: Candidates, axes: Sequence[Axis], fraction: float) -> Sizes:
    found: Sizes = {}
    for kind in dict.fromkeys(axis.kind for axis in axes):
        alike = [axis for axis in axes if axis.kind == kind]
        found |= _cheapest(candidates, alike, _slices_gained, fraction * sum(axis.size for axis in alike))
    return found


def _slices_gained(axis: Axis, sizes: Sizes, size: int) -> float:
    return sizes.get(axis.atom, axis.size) - size


def _same_fraction(candidates: Candidates, wanted: float, sizes_at: Callable[[float], Sizes]) -> Sizes:
    """Halves the interval of fractions until what is saved is what is wanted."""
    low, high = 0.0, 1.0
    tried: list[tuple[float, Sizes]] = [(wanted, {})]
    for _ in range(HALVINGS):
        fraction = (low + high) / 2
        sizes = sizes_at(fraction)
        saved = candidates.savings.total - candidates.savings.amount(sizes)
        tried.append((abs(saved - wanted), sizes))
        low, high = (fraction, high) if saved < wanted else (low, fraction)
    return min(tried, key=lambda found: found[0])[1]
