"""A choice set right for what changes do to each other, by measuring a few whole plans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from torch import nn

from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.errors import invalid
from laconic.core.plan import Plan
from laconic.select.allocate import Taken, allocate, choice_of
from laconic.select.offer import Choice, JointOffer, Offer, PriceList
from laconic.select.yardstick import Yardstick

SPREAD, SHARE = 0.7, 0.5
"""How far a layer's prices are moved, as the standard deviation of the logarithm, and how many layers' at a time."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """A choice with what it was measured to cost.

    Args:
        choice: one offer for each layer; its nats are the sum of the offers'.
        nats: KL(original || changed) of the whole plan, as measured.
        first_nats: the same of the choice that the price list alone leads to.
        measured: how many whole plans were measured.
    """

    choice: Choice
    nats: float
    first_nats: float
    measured: int


def refine(
    model: nn.Module,
    prices: PriceList,
    budget: Budget,
    yardstick: Yardstick,
    *,
    beside: Plan | None = None,
    memory: Taken | None = None,
    rounds: int = 8,
    seed: int = 0,
) -> Refined:
    """Searches around the best sum of prices for the plan that is best as a whole.

    Prices are of one change at a time, while changes weaken or strengthen each other. Each round moves the prices of
    some layers by random factors, allocates anew, and measures the plan that comes out; factors that lead to a better
    plan are kept. It ends early where the whole costs no more than the sum of its parts.

    Args:
        model: what the prices are of.
        prices: its price list.
        budget: as of `allocate`.
        yardstick: measures on data that the prices were not made with.
        beside: what else is done to the model.
        memory: as of `allocate`.
        rounds: how many plans are measured beside the first.
        seed: of the factors.

    Raises:
        UsageError: no choice meets a limit.

    Guarantees:
        The measured nats are not above those of the first choice.

    Reference:
        Frantar and Alistarh 2022, arXiv:2201.13096 (SPDY: coefficients searched, an exact allocation for each).
    """
    if rounds < 0:
        raise invalid("refine.rounds", rounds, "a whole number of at least 0")
    also = beside or Plan()
    generator = np.random.default_rng(seed)
    layers = list(prices.layers)
    known: dict[tuple[Offer | JointOffer, ...], float] = {}

    def measured(choice: Choice) -> float:
        if choice.all not in known:
            known[choice.all] = yardstick.nats(apply(model, choice.plan + also).eval())
        return known[choice.all]

    best = allocate(prices, budget, memory=memory)
    first = measured(best)
    factors = np.zeros(len(layers))
    for _ in range(rounds):
        if measured(best) <= best.nats:
            break
        moved = factors + generator.normal(0, SPREAD, len(layers)) * (generator.random(len(layers)) < SHARE)
        tried = _at(prices, budget, dict(zip(layers, np.exp(moved).tolist(), strict=True)), memory)
        if measured(tried) < measured(best):
            best, factors = tried, moved
    return Refined(choice=best, nats=measured(best), first_nats=first, measured=len(known))


def _at(prices: PriceList, budget: Budget, factors: dict[str, float], memory: Taken | None) -> Choice:
    """Allocates by prices that are moved, and returns the choice at the prices as they are."""
    moved = [replace(offer, nats=offer.nats * factors[offer.layer]) for offer in prices.offers]
    joint = [replace(offer, nats=offer.nats * factors[offer.layers[0]]) for offer in prices.joint]
    origin = {id(new): offer for offer, new in zip(prices.offers, moved, strict=True)}
    lots = {id(new): offer for offer, new in zip(prices.joint, joint, strict=True)}
    found = allocate(replace(prices, offers=tuple(moved), joint=tuple(joint)), budget, memory=memory)
    return choice_of(prices, [origin[id(offer)] for offer in found.offers], [lots[id(offer)] for offer in found.joint])
