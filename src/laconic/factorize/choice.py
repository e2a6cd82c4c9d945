"""Which layer at which size, so that all of them together save what was asked at the least cost."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from laconic.core.errors import invalid


@final
@dataclass(frozen=True, kw_only=True)
class Offer:
    """One size of one layer.

    Args:
        size: parameters or multiply-accumulates of the layer at it.
        error: what it costs.
        place: of the level among the layer's levels; None: the layer as it is.
    """

    size: float
    error: float
    place: int | None


def cheapest(offers: Mapping[str, Sequence[Offer]], saving: float) -> dict[str, Offer]:
    """Returns one offer a layer that together save at least so much, with the least sum of errors or nearly so.

    Each layer goes down the lower convex hull of its offers; always the layer goes next that pays least for what it
    saves. The last one to go stops at its cheapest offer that suffices, on the hull or not.

    Args:
        offers: of every layer, among them the layer as it is.
        saving: how much smaller the sum of sizes has to be.

    Raises:
        UsageError: the smallest sizes together do not save so much.

    Reference:
        Shoham and Gersho 1988 (optimal allocation along convex hulls).
    """
    hulls = {name: _hull(found) for name, found in offers.items()}
    steps = dict.fromkeys(hulls, 0)
    waiting = [(_slope(hull[0], hull[1]), name) for name, hull in hulls.items() if len(hull) > 1]
    heapq.heapify(waiting)
    saved, chosen = 0.0, {name: hull[0] for name, hull in hulls.items()}
    while saved < saving:
        if not waiting:
            raise invalid("factorize.ratio", f"a saving of {saving:,.0f}", f"at most {saved:,.0f} of these layers")
        _, name = heapq.heappop(waiting)
        hull, step, before = hulls[name], steps[name] + 1, chosen[name].size
        enough = [o for o in offers[name] if hull[step].size <= o.size <= before - (saving - saved)]
        chosen[name] = min(enough, key=lambda o: o.error, default=hull[step])
        saved += before - chosen[name].size
        steps[name] = step
        if step + 1 < len(hull):
            heapq.heappush(waiting, (_slope(hull[step], hull[step + 1]), name))
    return chosen


def _hull(offers: Sequence[Offer]) -> list[Offer]:
    """Returns the offers that are best at some price of a unit of size, largest first."""
    hull: list[Offer] = []
    for offer in sorted(offers, key=lambda o: (-o.size, o.error)):
        if hull and offer.size == hull[-1].size:
            continue
        while len(hull) > 1 and _slope(hull[-1], offer) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(offer)
    return hull


def _slope(large: Offer, small: Offer) -> float:
    """Returns what a unit saved costs between two offers."""
    return (small.error - large.error) / (large.size - small.size)
