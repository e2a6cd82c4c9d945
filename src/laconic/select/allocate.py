"""Which offer for which layer: the least nats under every limit at once, exactly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.select.offer import Choice, JointOffer, Offer, PriceList

Array = NDArray[np.float64]
Chosen = NDArray[np.bool_]
DIGITS = {"latency": 4}
GIVEN = {
    "latency": ("times", "milliseconds(prices, model, task, target)"),
    "memory": ("memory", "peak_memory_of(prices, original_bytes=..., runtime_bytes=...)"),
}
"""Limits of what a price list does not know: the argument that says it, and where that comes from."""
FEASIBILITY = 1e-6
"""By how much the solver may exceed a limit that is scaled to one."""


class Taken(Protocol):
    """What each offer of a price list takes on a target: milliseconds, or bytes of a process's peak memory."""

    @property
    def offers(self) -> tuple[float, ...]:
        """Of each, in the list's order."""

    @property
    def other(self) -> float:
        """Of all that none of the layers is."""

    @property
    def original(self) -> float:
        """Of the model as it is."""


def allocate(prices: PriceList, budget: Budget, *, times: Taken | None = None, memory: Taken | None = None) -> Choice:
    """Chooses one offer for each layer, with the least sum of nats that the limits allow.

    A multiple-choice knapsack, solved as a mixed-integer linear programme by HiGHS; no forward pass is needed. An offer
    for several layers together stands in the place of one for each of them.

    Args:
        prices: of one model.
        budget: its `size` and `macs` are limits of all parameters and buffers together, and of one sample; its
            `latency` needs `times`, its `memory` needs `memory`; `drop` is not seen here.
        times: milliseconds of each offer on the target, such as `select.milliseconds.milliseconds(prices, ...)`.
        memory: peak bytes of each offer, such as `select.memory.peak_memory_of(prices, ...)`.

    Raises:
        UsageError: no choice meets a limit; the least there is, is said. Or time or memory is limited and not given.

    Reference:
        Kellerer, Pferschy and Pisinger 2004, Knapsack Problems, chapter 11; Huangfu and Hall 2018 (HiGHS).
    """
    layers = list(prices.layers.values())
    offers = [offer for found in layers for offer in found]
    limits = _limits(prices, offers, budget, {"latency": times, "memory": memory})
    nats = np.array([*(offer.nats for offer in offers), *(offer.nats for offer in prices.joint)])
    cover = _cover(prices, offers)
    for name, (amounts, bound) in limits.items():
        least = _least(amounts, [len(found) for found in layers], cover)
        if least > bound:
            given = {"size": float(prices.other_bytes), "macs": prices.other_macs}
            given |= {n: taken.other for n, taken in (("latency", times), ("memory", memory)) if taken is not None}
            got, possible = (f"{amount + given[name]:,.{DIGITS.get(name, 0)}f}" for amount in (bound, least))
            notes = "".join(f" {note[0].upper()}{note[1:]}" for note in prices.notes)
            raise UsageError(
                f"Budget.{name}: got {got}; expected at least {possible}, which the smallest offer for every layer "
                f"leaves. Offer more techniques, or allow more.{notes}"
            )
    taken = _best(nats, cover, limits.values())
    if taken is None:
        raise UsageError(f"Budget: {budget} cannot be met by these offers together. Offer more, or allow more.")
    alone, together = taken[: len(offers)], taken[len(offers) :]
    return choice_of(
        prices,
        [offer for offer, is_taken in zip(offers, alone, strict=True) if is_taken],
        [offer for offer, is_taken in zip(prices.joint, together, strict=True) if is_taken],
    )


def _least(amounts: Array, counts: list[int], cover: csr_array) -> float:
    """Returns the least sum that there is, of offers for single layers first, then of all."""
    least = sum(float(min(part)) for part in np.split(amounts, np.cumsum(counts))[:-1])
    if len(amounts) == sum(counts):
        return least
    smallest = _solved(amounts, cover, [], scale=float(amounts.max()), margin=0.0)
    return least if smallest is None else min(least, float(amounts[smallest].sum()))


def _best(nats: Array, cover: csr_array, limits: Collection[tuple[Array, float]]) -> Chosen | None:
    """Returns which offers to take; None if nothing meets the limits."""
    for margin in (0.0, 2 * FEASIBILITY):
        taken = _solved(nats, cover, limits, scale=float(nats.max()), margin=margin)
        if taken is None:
            return None
        # The solver stops within an absolute gap: the second time the best so far is one, and what costs more is out.
        better = _solved(nats, cover, limits, scale=float(nats[taken].sum()), margin=margin)
        if better is not None and nats[better].sum() < nats[taken].sum():
            taken = better
        if all(amounts[taken].sum() <= bound for amounts, bound in limits):
            return taken
    return None


def _solved(
    nats: Array, cover: csr_array, limits: Iterable[tuple[Array, float]], *, scale: float, margin: float
) -> Chosen | None:
    """Returns which offers to take, as far as they cost no more than `scale` each; None if that is not possible."""
    scale = scale or 1.0
    rows = [LinearConstraint(cover, 1, 1)]
    for amounts, bound in limits:
        unit = max(bound, 1.0)
        rows.append(LinearConstraint(amounts[None] / unit, -np.inf, bound / unit - margin))
    affordable = nats <= scale
    solved = milp(
        np.where(affordable, nats, 0.0) / scale,
        constraints=rows,
        integrality=1,
        bounds=Bounds(0, affordable.astype(float)),
        options={"mip_rel_gap": 0.0},
    )
    return None if solved.x is None else solved.x > 0.5


def choice_of(prices: PriceList, offers: Sequence[Offer], joint: Sequence[JointOffer] = ()) -> Choice:
    """Adds up one offer for each layer, or for several together."""
    taken: list[Offer | JointOffer] = [*offers, *joint]
    return Choice(
        offers=tuple(offers),
        size_bytes=prices.other_bytes + sum(offer.size_bytes for offer in taken),
        macs=prices.other_macs + sum(offer.macs for offer in taken),
        nats=sum(offer.nats for offer in taken),
        joint=tuple(joint),
    )


def _limits(
    prices: PriceList, offers: list[Offer], budget: Budget, given: Mapping[str, Taken | None]
) -> dict[str, tuple[Array, float]]:
    """Returns what each offer takes, and how much all layers together may take."""
    found = {}
    options: list[Offer | JointOffer] = [*offers, *prices.joint]
    for name, how in GIVEN.items():
        limit, taken = budget.limits.get(name), given[name]
        if limit is None:
            continue
        if taken is None:
            raise UsageError(
                f"allocate.{how[0]}: got None; expected what each offer takes, since the budget has "
                f"{name}={limit.value}. Pass {how[1]}."
            )
        found[name] = (_amounts(prices, offers, taken), limit.bound(taken.original) - taken.other)
    if (size := budget.limits.get("size")) is not None:
        amounts = np.array([float(offer.size_bytes) for offer in options])
        found["size"] = (amounts, size.bound(prices.size_bytes) - prices.other_bytes)
    if (macs := budget.limits.get("macs")) is not None:
        amounts = np.array([offer.macs for offer in options])
        found["macs"] = (amounts, macs.bound(prices.macs) - prices.other_macs)
    return found


def _amounts(prices: PriceList, offers: Sequence[Offer], taken: Taken) -> Array:
    """Returns what each offer takes, those for several layers last: each of these runs as ever."""
    known = dict(zip(map(id, prices.offers), taken.offers, strict=True))
    whole = {name: known[id(of_layer[0])] for name, of_layer in prices.layers.items()}
    together = [sum(whole[name] for name in offer.layers) for offer in prices.joint]
    return np.array([*(known[id(offer)] for offer in offers), *together])


def _cover(prices: PriceList, offers: Sequence[Offer]) -> csr_array:
    """Returns a row a layer with ones at the offers that settle it."""
    place = {name: row for row, name in enumerate(prices.layers)}
    settled = [*((offer.layer,) for offer in offers), *(offer.layers for offer in prices.joint)]
    cells = [(place[name], column) for column, names in enumerate(settled) for name in names]
    rows, columns = zip(*cells, strict=True)
    return csr_array((np.ones(len(cells)), (rows, columns)), shape=(len(place), len(settled)))
