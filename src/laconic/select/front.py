"""All that can be had: for each size the least nats, from one price list."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from laconic.core.budget import Budget, Limit
from laconic.core.errors import UsageError, check_whole
from laconic.select.allocate import allocate
from laconic.select.offer import Choice, PriceList


def front(prices: PriceList, *, points: int = 12, macs: float | None = None) -> tuple[Choice, ...]:
    """Returns the choices that no other beats in both size and nats, from the smallest to the largest.

    Sizes are spaced evenly in their logarithm; another budget needs no new forward pass.

    Args:
        prices: of one model.
        points: how many sizes are tried.
        macs: also at most this fraction of the multiply-accumulates, in (0, 1].

    Raises:
        UsageError: a number is outside its domain, or nothing meets the limit on multiply-accumulates.

    Example:
        >>> from laconic.select import Offer
        >>> whole = Offer(layer="a", technique=None, edit=None, size_bytes=8, macs=1, predicted_nats=0.0, nats=0.0)
        >>> half = Offer(layer="a", technique=None, edit=None, size_bytes=4, macs=1, predicted_nats=0.1, nats=0.1)
        >>> found = front(PriceList(offers=(whole, half), other_bytes=0, other_macs=0.0))
        >>> [(choice.size_bytes, choice.nats) for choice in found]
        [(4, 0.1), (8, 0.0)]
    """
    check_whole("front.points", points, 2)
    largest = allocate(prices, Budget(macs=macs))
    sizes = np.geomspace(least_bytes(prices), largest.size_bytes, points)
    found: dict[int, Choice] = {}
    for size in sizes:
        try:
            choice = allocate(prices, Budget(size=Limit(float(np.ceil(size)), relative=False), macs=macs))
        except UsageError:  # Small enough only with more multiply-accumulates than are allowed.
            continue
        found[choice.size_bytes] = choice
    return _undominated(found | {largest.size_bytes: largest})


def least_bytes(prices: PriceList) -> int:
    """Returns the size that no choice goes below: the smallest offer for every layer."""
    return prices.other_bytes + sum(min(offer.size_bytes for offer in found) for found in prices.layers.values())


def _undominated(found: Mapping[int, Choice]) -> tuple[Choice, ...]:
    kept: list[Choice] = []
    for _, choice in sorted(found.items(), reverse=True):
        if not kept or choice.nats > kept[-1].nats:
            kept.append(choice)
        elif choice.nats == kept[-1].nats:
            kept[-1] = choice
    return tuple(reversed(kept))
