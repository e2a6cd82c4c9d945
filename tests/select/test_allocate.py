import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
import torch
from selecting_samples import TASK, network, smooth

from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.measure import kl_divergence
from laconic.quantize import CompensatedRounding
from laconic.select import Offer, PriceList, allocate, carried_out, price


def offers(layer: str, seed: int, count: int = 5) -> list[Offer]:
    generator = torch.Generator().manual_seed(seed)
    sizes, macs, nats = (torch.rand(3, count, generator=generator) * 1000).tolist()
    levels = [(0.0, 1000.0, 1000), *((n, m, int(s)) for n, m, s in zip(nats, macs, sizes, strict=True))]
    return [
        Offer(layer=layer, technique=None, edit=None, size_bytes=s, macs=m, predicted_nats=n, nats=n)
        for n, m, s in levels
    ]


PRICES = PriceList(offers=tuple(o for i in range(4) for o in offers(f"layer{i}", i)), other_bytes=100, other_macs=50.0)


@pytest.mark.parametrize("limits", [{"size": 0.9}, {"size": 0.5}, {"macs": 0.4}, {"size": 0.6, "macs": 0.6}])
def test_the_choice_is_the_best_of_all_that_meet_every_limit(limits: dict[str, float]) -> None:
    budget = Budget(**limits)
    allowed = [
        chosen
        for chosen in itertools.product(*PRICES.layers.values())
        if 100 + sum(o.size_bytes for o in chosen) <= limits.get("size", 1) * PRICES.size_bytes
        and 50 + sum(o.macs for o in chosen) <= limits.get("macs", 1) * PRICES.macs
    ]
    found = allocate(PRICES, budget)
    assert found.nats == pytest.approx(min(sum(o.nats for o in chosen) for chosen in allowed))
    assert found.size_bytes == 100 + sum(o.size_bytes for o in found.offers)
    assert found.size_bytes <= limits.get("size", 1) * PRICES.size_bytes
    assert found.macs <= limits.get("macs", 1) * PRICES.macs


def test_the_choice_is_exact_where_prices_are_decades_apart() -> None:
    generator = torch.Generator().manual_seed(3)
    found = []
    for i in range(6):
        sizes, nats = torch.rand(2, 4, generator=generator).tolist()
        levels = [(1000, 0.0), *((int(100 * s), n * 10.0 ** -(2 * i)) for s, n in zip(sizes, nats, strict=True))]
        found += [
            Offer(layer=f"{i}", technique=None, edit=None, size_bytes=s, macs=1.0, predicted_nats=n, nats=n)
            for s, n in levels
        ]
    prices = PriceList(offers=tuple(found), other_bytes=0, other_macs=0.0)
    chosen = [c for c in itertools.product(*prices.layers.values()) if sum(o.size_bytes for o in c) <= 2200]
    least = min(sum(o.nats for o in c) for c in chosen)
    assert 0 < least < 1e-3
    assert allocate(prices, Budget(size="2200 B")).nats == pytest.approx(least, rel=1e-9, abs=0)


@dataclass(frozen=True)
class Steady:
    offers: tuple[float, ...]
    other: float = 0.5
    original: float = 4.5


TIMES = Steady(tuple(1.0 if i % 6 == 0 else 0.2 + 0.1 * (i * 7 % 6) for i in range(24)))


def test_a_limit_of_time_holds_beside_the_others_where_times_are_given() -> None:
    taken = dict(zip(map(id, PRICES.offers), TIMES.offers, strict=True))

    def milliseconds(chosen: Iterable[Offer]) -> float:
        return 0.5 + sum(taken[id(offer)] for offer in chosen)

    allowed = [
        chosen
        for chosen in itertools.product(*PRICES.layers.values())
        if milliseconds(chosen) <= 0.6 * 4.5 and 100 + sum(o.size_bytes for o in chosen) <= 0.8 * PRICES.size_bytes
    ]
    found = allocate(PRICES, Budget(latency=0.6, size=0.8), times=TIMES)
    assert found.nats == pytest.approx(min(sum(o.nats for o in chosen) for chosen in allowed))
    assert milliseconds(found.offers) <= 0.6 * 4.5
    with pytest.raises(UsageError, match=r"Budget.latency: got 0.4500; expected at least 1.7000"):
        allocate(PRICES, Budget(latency=0.1), times=TIMES)


def test_a_limit_of_time_without_times_is_refused() -> None:
    with pytest.raises(UsageError, match=r"allocate.times: got None; .* Pass milliseconds"):
        allocate(PRICES, Budget(latency=0.6))


def test_without_limits_everything_stays() -> None:
    found = allocate(PRICES, Budget())
    assert found.nats == 0 and len(found.plan) == 0


def test_an_absolute_limit_counts_what_has_no_offers_too() -> None:
    assert allocate(PRICES, Budget(size="2000 B")).size_bytes <= 2000


@pytest.mark.parametrize("name", ["size", "macs"])
def test_a_limit_that_nothing_meets_is_refused_with_the_least_there_is(name: str) -> None:
    with pytest.raises(UsageError, match=rf"Budget.{name}: got \d+; expected at least [\d,]+, which the smallest"):
        allocate(PRICES, Budget(**{name: 0.01}))


def test_limits_that_hold_alone_but_not_together_are_refused() -> None:
    small = Offer(layer="a", technique=None, edit=None, size_bytes=1, macs=9.0, predicted_nats=1.0, nats=1.0)
    quick = Offer(layer="a", technique=None, edit=None, size_bytes=9, macs=1.0, predicted_nats=1.0, nats=1.0)
    whole = Offer(layer="a", technique=None, edit=None, size_bytes=10, macs=10.0, predicted_nats=0.0, nats=0.0)
    prices = PriceList(offers=(whole, small, quick), other_bytes=0, other_macs=0.0)
    with pytest.raises(UsageError, match="cannot be met by these offers together"):
        allocate(prices, Budget(size=0.2, macs=0.2))


def test_a_choice_carried_out_in_order_is_nearer_than_its_offers_one_by_one() -> None:
    model, held_out = network(), smooth(256, seed=99)
    prices = price(model, TASK, techniques=[CompensatedRounding(bits=b) for b in (2, 3, 4, 8)])
    choice = allocate(prices, Budget(size=0.1))

    def distance(plan: Plan) -> float:
        with torch.no_grad():
            return kl_divergence(model(held_out), apply(model, plan)(held_out)).mean().item()

    in_order = carried_out(model, TASK, choice)
    assert {offer.level for offer in choice.offers} > {"2-bit symmetric grid per channel"}
    assert distance(in_order) < distance(choice.plan)
    coded = {edit.parameter: edit.coding.size_bytes for edit in in_order.recodes}
    assert all(coded[offer.layer] == offer.size_bytes for offer in choice.offers if offer.edit is not None)


def test_nothing_is_printed_on_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    allocate(PRICES, Budget(size=0.5, macs=0.6))
    assert capfd.readouterr() == ("", "")
