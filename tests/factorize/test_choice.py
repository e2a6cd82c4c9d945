import itertools
import math
import random

import pytest

from laconic.core.errors import UsageError
from laconic.factorize.choice import Offer, cheapest


def convex(seed: int, count: int = 5) -> list[Offer]:
    """Sizes that shrink by equal steps, at errors that grow ever faster."""
    steps = sorted(random.Random(seed).random() for _ in range(count))
    errors = itertools.accumulate(steps, initial=0.0)
    return [Offer(size=float(count - i), error=e, place=None if i == 0 else i) for i, e in enumerate(errors)]


@pytest.mark.parametrize("saving", [0, 1, 4, 7, 11, 15])
def test_the_sum_of_errors_is_the_least_there_is(saving: int) -> None:
    offers = {name: convex(seed) for seed, name in enumerate("abc")}
    best = min(
        sum(o.error for o in chosen)
        for chosen in itertools.product(*offers.values())
        if sum(5 - o.size for o in chosen) >= saving
    )
    found = cheapest(offers, saving)
    assert sum(o.error for o in found.values()) == pytest.approx(best)
    assert sum(5 - o.size for o in found.values()) == saving


def test_an_offer_off_the_hull_is_taken_only_by_the_layer_that_goes_last() -> None:
    offers = [Offer(size=s, error=e, place=i) for i, (s, e) in enumerate([(4, 0), (3, 2), (2, 3), (1, 9)])]
    assert cheapest({"a": offers}, 1)["a"].size == 3
    assert [o.size for o in cheapest({"a": offers, "b": offers}, 3).values()] == [2, 3]


def test_nothing_asked_is_nothing_done() -> None:
    assert cheapest({"a": convex(0)}, 0)["a"].place is None


def test_what_cannot_be_saved_is_said_with_the_bound() -> None:
    with pytest.raises(UsageError, match="at most 5 of these layers"):
        cheapest({"a": convex(0)}, 5 + math.ulp(5.0))
