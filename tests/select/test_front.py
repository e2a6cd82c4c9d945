import pytest
from test_allocate import PRICES

from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.select import allocate, front
from laconic.select.front import least_bytes


def test_every_choice_is_the_best_at_its_size() -> None:
    for choice in front(PRICES):
        again = allocate(PRICES, Budget(size=f"{choice.size_bytes} B"))
        assert choice.nats == pytest.approx(again.nats)


def test_no_choice_is_beaten_in_both_and_the_ends_are_the_smallest_and_the_free_one() -> None:
    found = front(PRICES)
    sizes, nats = [choice.size_bytes for choice in found], [choice.nats for choice in found]
    assert sizes == sorted(set(sizes)) and nats == sorted(set(nats), reverse=True)
    assert sizes[0] == least_bytes(PRICES) and nats[-1] == 0
    assert len(found) > 5


def test_another_limit_holds_on_the_whole_front() -> None:
    assert all(choice.macs <= 0.4 * PRICES.macs for choice in front(PRICES, macs=0.4))


def test_one_point_is_no_front() -> None:
    with pytest.raises(UsageError, match=r"front.points: got 1"):
        front(PRICES, points=1)
