"""One offer for each layer by search, so that it can be compared with the exact choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.select.allocate import choice_of
from laconic.select.offer import Choice, Offer, PriceList
from laconic.select.search import Strategy, Trial, search
from laconic.select.space import Whole

Cost = Callable[[Choice], float]


@final
@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The offers of a layer that are worth taking, from the smallest to the one that costs no nats."""

    layer: str
    offers: tuple[Offer, ...]


def searched(
    prices: PriceList, budget: Budget, strategy: Strategy, *, trials: int, cost: Cost | None = None
) -> tuple[Choice, ...]:
    """Searches for one offer for each layer within a size, as HAQ searches for bits.

    Where costs add up, `allocate` finds the best choice at once; this is for costs that do not, and for comparison. A
    choice that is too large is made smaller layer by layer, one step at a time, before it is judged (HAQ, section 3.3).

    Args:
        prices: of one model.
        budget: its `size` is kept to; other limits are not seen.
        strategy: what chooses.
        trials: how many choices are judged.
        cost: of a choice, less is better; None: its nats.

    Returns:
        The best choice after each trial: the last is the result.

    Raises:
        UsageError: the budget limits no size, or the smallest offers are above it.
    """
    limit = budget.limits.get("size")
    if limit is None:
        raise UsageError(f"searched: got the budget {budget}; expected one that limits the size.")
    bound = limit.bound(prices.size_bytes)
    ladders = [_ladder(layer, offers) for layer, offers in prices.layers.items()]
    least = choice_of(prices, [ladder.offers[0] for ladder in ladders]).size_bytes
    if least > bound:
        raise UsageError(f"Budget.size: got {bound:,.0f}; expected at least {least:,}. Allow more.")
    judged = cost or (lambda choice: choice.nats)
    best: list[tuple[float, Choice]] = []

    def objective(trial: Trial) -> float:
        choice = _within(prices, ladders, [trial.values[ladder.layer] for ladder in ladders], bound)
        found = judged(choice)
        best.append(min([*best[-1:], (found, choice)], key=lambda one: one[0]))
        return found

    space = {ladder.layer: Whole(0, len(ladder.offers) - 1) for ladder in ladders}
    search(space, objective, trials=trials, strategy=strategy)
    return tuple(choice for _, choice in best)


def _ladder(layer: str, offers: Sequence[Offer]) -> Ladder:
    """Returns the offers that no other beats in both bytes and nats, by size."""
    worth: list[Offer] = []
    for offer in sorted(offers, key=lambda one: (one.size_bytes, one.nats)):
        if not worth or offer.nats < worth[-1].nats:
            worth.append(offer)
    return Ladder(layer=layer, offers=tuple(worth))


def _within(prices: PriceList, ladders: Sequence[Ladder], steps: Sequence[int], bound: float) -> Choice:
    """Returns the choice at some steps, taken down layer by layer until it fits."""
    steps = list(steps)
    while True:
        for place in range(len(steps)):
            choice = choice_of(prices, [ladder.offers[step] for ladder, step in zip(ladders, steps, strict=True)])
            if choice.size_bytes <= bound:
                return choice
            steps[place] = max(0, steps[place] - 1)
