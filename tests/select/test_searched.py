import itertools

import pytest
import torch

from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.select import Choice, Offer, PriceList, allocate
from laconic.select.reinforcement import Reinforcement
from laconic.select.search import Strategy
from laconic.select.searched import searched
from laconic.select.strategies import GaussianProcess, TreeParzen

LAYERS = 3


def priced() -> PriceList:
    """Three layers, five sizes each, at costs that rise steeply as in few bits."""
    generator = torch.Generator().manual_seed(0)
    offers = []
    for layer in range(LAYERS):
        weight = float(torch.rand((), generator=generator)) + 0.1
        for bits in (32, 8, 6, 4, 2):
            nats = 0.0 if bits == 32 else weight * 4.0**-bits * 1e3
            size = bits * (layer + 1)
            offers.append(
                Offer(
                    layer=f"layer{layer}",
                    technique=None,
                    edit=None,
                    size_bytes=size,
                    macs=1.0,
                    predicted_nats=nats,
                    nats=nats,
                )
            )
    return PriceList(offers=tuple(offers), other_bytes=0, other_macs=0.0)


@pytest.mark.parametrize(
    ("strategy", "trials"), [(TreeParzen(), 80), (GaussianProcess(), 40), (Reinforcement(startup=15), 80)]
)
def test_search_finds_what_is_best_where_costs_add_up(strategy: Strategy, trials: int) -> None:
    prices, budget = priced(), Budget(size=0.2)
    found = searched(prices, budget, strategy, trials=trials)
    exact = allocate(prices, budget)
    assert len(found) == trials
    assert found[-1].nats == pytest.approx(exact.nats)
    assert all(choice.size_bytes <= 0.2 * prices.size_bytes for choice in found)
    assert [choice.nats for choice in found] == sorted((choice.nats for choice in found), reverse=True)


def test_a_cost_that_does_not_add_up_is_searched_too() -> None:
    prices = priced()

    def unlike(choice: Choice) -> float:
        """Least where neighbours differ most."""
        sizes = [offer.size_bytes / (i + 1) for i, offer in enumerate(choice.offers)]
        return -sum(abs(a - b) for a, b in itertools.pairwise(sizes))

    found = searched(prices, Budget(size=0.9), TreeParzen(), trials=60, cost=unlike)
    assert unlike(found[-1]) == -60


def test_a_budget_without_a_size_or_below_the_least_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one that limits the size"):
        searched(priced(), Budget(macs=0.5), TreeParzen(), trials=1)
    with pytest.raises(UsageError, match=r"Budget.size: got 2; expected at least 12"):
        searched(priced(), Budget(size=0.01), TreeParzen(), trials=1)
