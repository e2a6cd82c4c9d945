"""Which offer for which layer: the least nats under every limit at once, exactly."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.select.offer import Choice, Offer, PriceList


def allocate(prices: PriceList, budget: Budget) -> Choice:
    """Chooses one offer for each layer, with the least sum of nats that the limits allow.

    A multiple-choice knapsack, solved as a mixed-integer linear programme by HiGHS; no forward pass is needed.

    Args:
        prices: of one model.
        budget: its `size` and `macs` are limits of all parameters and buffers together, and of one sample; other limits
            are not seen here.

    Raises:
        UsageError: no choice meets a limit; the least there is, is said.

    Reference:
        Kellerer, Pferschy and Pisinger 2004, Knapsack Problems, chapter 11; Huangfu and Hall 2018 (HiGHS).
    """
    layers = list(prices.layers.values())
    offers = [offer for found in layers for offer in found]
    limits = _limits(prices, offers, budget)
    once = _one_each([len(found) for found in layers])
    constraints = [LinearConstraint(once, 1, 1)]
    for name, (amounts, bound) in limits.items():
        least = sum(min(part) for part in np.split(amounts, np.cumsum([len(f) for f in layers])[:-1]))
        if least > bound:
            whole = {"size": prices.other_bytes, "macs": prices.other_macs}[name]
            raise UsageError(
                f"Budget.{name}: got {bound + whole:,.0f}; expected at least {least + whole:,.0f}, which the smallest "
                "offer for every layer leaves. Offer more techniques, or allow more."
            )
        constraints.append(LinearConstraint(amounts[None] / max(bound, 1.0), -np.inf, bound / max(bound, 1.0)))
    nats = np.array([offer.nats for offer in offers])
    solved = milp(nats / (nats.max() or 1.0), constraints=constraints, integrality=1, bounds=Bounds(0, 1))
    if solved.x is None:
        raise UsageError(f"Budget: {budget} cannot be met by these offers together: {solved.message}")
    return choice_of(prices, [offer for offer, taken in zip(offers, solved.x > 0.5, strict=True) if taken])


def choice_of(prices: PriceList, offers: list[Offer]) -> Choice:
    """Adds up one offer for each layer."""
    return Choice(
        offers=tuple(offers),
        size_bytes=prices.other_bytes + sum(offer.size_bytes for offer in offers),
        macs=prices.other_macs + sum(offer.macs for offer in offers),
        nats=sum(offer.nats for offer in offers),
    )


def _limits(
    prices: PriceList, offers: list[Offer], budget: Budget
) -> dict[str, tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float]]:
    """Returns what each offer takes, and how much all layers together may take."""
    found = {}
    if (size := budget.limits.get("size")) is not None:
        amounts = np.array([float(offer.size_bytes) for offer in offers])
        found["size"] = (amounts, size.bound(prices.size_bytes) - prices.other_bytes)
    if (macs := budget.limits.get("macs")) is not None:
        amounts = np.array([offer.macs for offer in offers])
        found["macs"] = (amounts, macs.bound(prices.macs) - prices.other_macs)
    return found


def _one_each(counts: list[int]) -> csr_array:
    """Returns a row a layer with ones at its offers."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))))
