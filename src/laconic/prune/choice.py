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
Together = Mapping[Axis, int]
"""Axes that shrink at once: each of them, by how many times its size is a size that they have in common."""
Gained = Callable[[Sizes, Sizes], float]
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
        locked: axes that are of one size now and have to be of one size afterwards.
    """

    removals: Mapping[Axis, Removal]
    savings: Savings
    limits: Limits = NO_LIMITS
    locked: Sequence[Together] = ()

    def together(self, axes: Sequence[Axis]) -> list[Together]:
        """Returns the locked sets among some axes, and each other axis alone."""
        sets = [axes_in for axes_in in self.locked if axes_in.keys() <= set(axes)]
        held = {axis for axes_in in sets for axis in axes_in}
        return [*sets, *({axis: 1} for axis in axes if axis not in held)]

    def smaller(self, together: Together, sizes: Mapping[Atom, int]) -> Sizes | None:
        """Returns the next smaller sizes that axes may have together, or None."""
        first, factor = next(iter(together.items()))
        size = sizes.get(first.atom, first.size)
        if len(together) == 1:
            alone = self.below(first, size)
            return None if alone is None else {first.atom: alone}
        step = math.lcm(*together.values())
        floor = max(self.floor(axis) * times for axis, times in together.items())
        for common in range((size * factor - 1) // step * step, floor - 1, -step):
            taken = {axis: common // times for axis, times in together.items()}
            if common and all(self.limits.below(axis, wanted + 1) == wanted for axis, wanted in taken.items()):
                return {axis.atom: wanted for axis, wanted in taken.items()}
        return None

    def price_of(self, together: Together, sizes: Mapping[Atom, int], smaller: Mapping[Atom, int]) -> float:
        """Returns what it costs to take axes from some sizes to smaller ones."""
        return sum(self.price(axis, sizes.get(axis.atom, axis.size), smaller[axis.atom]) for axis in together)

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

    def total(self, sizes: Mapping[Atom, int]) -> float:
        """Returns what it costs to take all axes to some sizes."""
        return sum(self.price(axis, axis.size, sizes.get(axis.atom, axis.size)) for axis in self.removals)

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
    sets = candidates.together(list(candidates.removals))
    if scope == "global":
        return _cheapest(candidates, sets, candidates.savings.gained, wanted)
    if scope == "layer":
        return _same_fraction(candidates, wanted, lambda fraction: _of_each(candidates, sets, fraction))
    if scope == "kind":
        return _same_fraction(candidates, wanted, lambda fraction: _of_each_kind(candidates, sets, fraction))
    raise invalid("prune.scope", scope, "'global', 'layer', 'kind' or 'equal'")


def _cheapest(candidates: Candidates, sets: Sequence[Together], gained: Gained, wanted: float) -> Sizes:
    """Takes the lowest price per saving first; a step that saves far too much waits until no other is left."""
    sizes: Sizes = {}
    left = wanted
    waiting = [(0.0, i) for i in range(len(sets))]  # Zero forces a look at each.
    large: list[Together] = []
    while waiting and left > CLOSE * wanted:
        _, i = heapq.heappop(waiting)
        smaller, gain = _next(candidates, sets[i], gained, sizes)
        if gain > left + OVERSHOOT * wanted:
            large.append(sets[i])
        if smaller is None or gain <= 0 or gain > left + OVERSHOOT * wanted:
            continue
        rate = candidates.price_of(sets[i], sizes, smaller) / gain
        if waiting and rate > waiting[0][0]:
            heapq.heappush(waiting, (rate, i))  # Others have shrunk since it was last looked at.
            continue
        sizes |= smaller
        left -= gain
        heapq.heappush(waiting, (0.0, i))
    return sizes if left <= CLOSE * wanted else sizes | _nearest(candidates, large, gained, sizes, left)


def _next(candidates: Candidates, together: Together, gained: Gained, sizes: Sizes) -> tuple[Sizes | None, float]:
    """Returns the next smaller sizes of a set, and what they save."""
    smaller = candidates.smaller(together, sizes)
    return smaller, 0.0 if smaller is None else gained(sizes, smaller)


def _nearest(candidates: Candidates, sets: Sequence[Together], gained: Gained, sizes: Sizes, left: float) -> Sizes:
    """Returns the one step that comes nearer to what is still wanted than no step, if there is one."""
    steps = [_next(candidates, together, gained, sizes) for together in sets]
    smaller, gain = min(steps, key=lambda step: abs(left - step[1]), default=(None, 0.0))
    return {} if smaller is None or gain >= 2 * left else smaller


def _of_each(candidates: Candidates, sets: Sequence[Together], fraction: float) -> Sizes:
    found: Sizes = {}
    for together in sets:
        found |= _shrunk(candidates, together, fraction)
    return found


def _shrunk(candidates: Candidates, together: Together, fraction: float) -> Sizes:
    """Returns the allowed sizes nearest to what a fraction leaves of a set."""
    first = next(iter(together))
    wanted, size = (1 - fraction) * first.size, first.size
    sizes: Sizes = {}
    while (smaller := candidates.smaller(together, sizes)) is not None:
        if abs(smaller[first.atom] - wanted) > abs(size - wanted):
            break
        sizes, size = smaller, smaller[first.atom]
    return sizes


def _of_each_kind(candidates: Candidates, sets: Sequence[Together], fraction: float) -> Sizes:
    found: Sizes = {}
    for kind in dict.fromkeys(axis.kind for together in sets for axis in together):
        alike = [together for together in sets if next(iter(together)).kind == kind]
        whole = sum(axis.size for together in alike for axis in together)
        found |= _cheapest(candidates, alike, _slices_gained, fraction * whole)
    return found


def _slices_gained(sizes: Sizes, smaller: Sizes) -> float:
    return sum(sizes.get(atom, atom.size) for atom in smaller) - sum(smaller.values())


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
