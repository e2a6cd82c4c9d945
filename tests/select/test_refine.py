import pytest
import torch
from selecting_samples import TASK, network, smooth

from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.measure import kl_divergence
from laconic.quantize import RoundToNearest
from laconic.select import Yardstick, allocate, price, refine

MODEL = network()
PRICES = price(MODEL, TASK, techniques=[RoundToNearest(bits=bits) for bits in (2, 3, 4)], measure=4)
BUDGET = Budget(size=0.09)
HELD_BACK = Task(evaluate=[smooth(64, seed) for seed in (20, 21)])
YARDSTICK = Yardstick.of(MODEL, HELD_BACK, samples=128, skip=0)


def measured(plan: Plan) -> float:
    inputs = torch.cat(list(HELD_BACK.evaluate))
    with torch.no_grad():
        return kl_divergence(MODEL(inputs), apply(MODEL, plan)(inputs)).mean().item()


def test_a_refined_choice_is_within_the_budget_and_measures_no_worse_than_the_first() -> None:
    found = refine(MODEL, PRICES, BUDGET, YARDSTICK, rounds=6)
    first = allocate(PRICES, BUDGET)
    assert found.first_nats == pytest.approx(measured(first.plan))
    assert found.nats == pytest.approx(measured(found.choice.plan)) and found.nats <= found.first_nats
    assert found.choice.size_bytes <= 0.09 * PRICES.size_bytes
    assert found.choice.nats >= first.nats - 1e-12
    assert 1 <= found.measured <= 7


def test_the_choice_holds_offers_of_the_list_at_their_own_prices() -> None:
    found = refine(MODEL, PRICES, BUDGET, YARDSTICK, rounds=3, seed=1)
    assert all(offer in PRICES.layers[offer.layer] for offer in found.choice.offers)
    assert found.choice.nats == pytest.approx(sum(offer.nats for offer in found.choice.offers))


def test_no_rounds_measure_the_first_choice_alone() -> None:
    found = refine(MODEL, PRICES, BUDGET, YARDSTICK, rounds=0)
    assert found.measured == 1 and found.nats == found.first_nats


def test_equal_seeds_give_equal_choices() -> None:
    both = [refine(MODEL, PRICES, BUDGET, YARDSTICK, rounds=3, seed=5).choice.offers for _ in range(2)]
    assert both[0] == both[1]


def test_a_negative_number_of_rounds_is_refused() -> None:
    with pytest.raises(UsageError, match=r"refine.rounds: got -1"):
        refine(MODEL, PRICES, BUDGET, YARDSTICK, rounds=-1)


def test_the_yardstick_reads_samples_behind_those_that_are_skipped() -> None:
    later = Yardstick.of(MODEL, TASK, samples=64, skip=256)
    assert torch.equal(later.batches[0].args[0], TASK.evaluate[4])
    assert later.nats(MODEL) == 0
