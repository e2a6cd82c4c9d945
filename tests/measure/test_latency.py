import gc
import itertools
import math
import random
import statistics
import time
from collections import Counter

import pytest

from laconic.core.errors import UsageError
from laconic.measure import Latency, latency, ratio


class World:
    """A clock that only calls move: each call of a model takes the time that the model was given."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def clock(self):
        return self.now

    def model(self, name, seconds):
        times = seconds if callable(seconds) else lambda: seconds

        def call():
            self.calls.append(name)
            self.now += times()

        return call


def measured(samples):
    return Latency(median_ms=1, low_ms=1, high_ms=1, samples_ms=tuple(samples))


def test_medians_are_those_of_the_clock():
    world = World()
    found = latency(
        {"a": world.model("a", 0.25), "b": world.model("b", 0.5)}, repeats=4, seconds=1e9, clock=world.clock
    )
    assert found["a"] == Latency(median_ms=250, low_ms=250, high_ms=250, samples_ms=(250,) * 4)
    assert found["b"].median_ms == 500


def test_models_take_turns_in_every_round_in_an_order_that_changes():
    world = World()
    names = "abc"
    latency({n: world.model(n, 0.25) for n in names}, repeats=20, warmup=3, seconds=1e9, clock=world.clock)
    preparation = 2 * len(names)
    turns = [name for name, _ in itertools.groupby(world.calls[preparation:])]
    rounds = [tuple(world.calls[i : i + 6 : 2]) for i in range(preparation, len(world.calls), 6)]
    assert len(rounds) == 3 + 20
    assert all(sorted(one) == list(names) for one in rounds)
    assert len(set(rounds)) > 3
    assert len(turns) > 2 * len(rounds)


def test_the_order_follows_from_the_seed():
    orders = []
    for seed in (0, 0, 1):
        world = World()
        latency({n: world.model(n, 0.25) for n in "abc"}, repeats=9, seconds=1e9, seed=seed, clock=world.clock)
        orders.append(world.calls)
    assert orders[0] == orders[1] != orders[2]


def test_the_first_call_of_a_turn_and_the_warm_up_rounds_are_not_timed():
    world = World()
    spent = itertools.chain([9, 1, 9, 9, 9, 9], itertools.cycle([7, 1]))  # 2 calls to prepare, 2 rounds of 2 calls
    found = latency({"a": world.model("a", lambda: next(spent))}, repeats=3, warmup=2, seconds=1e9, clock=world.clock)
    assert found["a"].samples_ms == (1000, 1000, 1000)


def test_short_calls_are_timed_several_at_once_and_long_ones_alone():
    world = World()
    runners = {"short": world.model("short", 2**-14), "long": world.model("long", 0.25)}
    found = latency(runners, repeats=3, seconds=1e9, clock=world.clock)
    assert (found["short"].calls_per_sample, found["long"].calls_per_sample) == (16, 1)
    assert found["short"].median_ms == 2**-14 * 1e3


def test_a_hiccup_is_not_taken_for_a_long_call():
    world = World()
    spent = itertools.chain([2**-14, 2**-7], itertools.repeat(2**-14))  # the first timed call is held up
    found = latency({"a": world.model("a", lambda: next(spent))}, repeats=3, seconds=1e9, clock=world.clock)
    assert found["a"].calls_per_sample == 16


def test_a_clock_that_stands_still_ends_too():
    found = latency({"a": lambda: None}, repeats=1, warmup=0, clock=lambda: 0.0)
    assert found["a"].median_ms == 0


def test_rounds_stop_before_the_budget_is_exceeded():
    world = World()
    runners = {"a": world.model("a", 1.0), "b": world.model("b", 1.0)}
    found = latency(runners, repeats=1000, warmup=1, seconds=60.0, clock=world.clock)
    assert world.now == 60.0  # 4 s to prepare and 14 rounds of 4 s, one of them the warm-up
    assert len(found["a"].samples_ms) == len(found["b"].samples_ms) == 13


def test_three_rounds_are_measured_however_small_the_budget():
    world = World()
    found = latency({"a": world.model("a", 1.0)}, seconds=0.001, clock=world.clock)
    assert len(found["a"].samples_ms) == 3


def test_the_spread_is_the_quartiles():
    world = World()
    times = iter([1, 1, *itertools.chain.from_iterable((0, t) for t in (5, 1, 4, 2, 90))])
    found = latency({"a": world.model("a", lambda: next(times))}, repeats=5, warmup=0, seconds=1e9, clock=world.clock)
    assert (found["a"].low_ms, found["a"].median_ms, found["a"].high_ms) == (2000, 4000, 5000)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_off_meanwhile_and_as_before_afterwards(enabled):
    states = set()
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        latency({"a": lambda: states.add(gc.isenabled())}, repeats=1, warmup=0, clock=lambda: 0.0)
        assert states == {False}
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if before else gc.disable()


def test_the_garbage_collector_comes_back_when_a_model_fails():
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        latency({"a": fail})
    assert gc.isenabled()


def test_a_pause_comes_before_every_turn_and_is_not_timed(monkeypatch):
    world = World()
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        world.now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    runners = {"a": world.model("a", 0.25), "b": world.model("b", 0.25)}
    found = latency(runners, repeats=3, warmup=1, pause_ms=500, seconds=1e9, clock=world.clock)
    assert pauses == [0.5] * 8
    assert found["a"].median_ms == 250


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"runners": {}}, "runners"),
        ({"repeats": 0}, "repeats"),
        ({"warmup": -1}, "warmup"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"pause_ms": -1}, "pause_ms"),
    ],
)
def test_values_outside_their_domain_are_refused(change, field):
    with pytest.raises(UsageError, match=rf"^latency.{field}: got"):
        latency(**{"runners": {"a": lambda: None}, **change})


def test_the_ratio_of_identical_runners_has_1_inside_its_interval():
    world, noise = World(), random.Random(0)
    runners = {n: world.model(n, lambda: noise.lognormvariate(0, 0.3)) for n in "ab"}
    found = latency(runners, repeats=100 * 30, seconds=1e9, clock=world.clock)
    a, b = (found[n].samples_ms for n in "ab")
    runs = [ratio(measured(a[i : i + 30]), measured(b[i : i + 30])).interval for i in range(0, 3000, 30)]
    misses = sum(not run.low <= 1 <= run.high for run in runs)
    assert misses <= 11  # 5 of 100 are expected, more than 11 in one case of 200


def test_a_machine_that_slows_down_leaves_the_ratio_alone():
    slowdown = [1 + i for i in range(20)]
    found = ratio(measured(2.0 * s for s in slowdown), measured(1.0 * s for s in slowdown))
    assert (found.value, found.interval.low, found.interval.high) == (2, 2, 2)


@pytest.mark.parametrize(("count", "low", "high"), [(6, 1, 6), (10, 2, 9), (20, 6, 15), (25, 8, 18)])
def test_the_interval_of_the_median_takes_the_ranks_of_the_published_tables(count, low, high):
    values = list(range(1, count + 1))
    random.Random(0).shuffle(values)
    found = ratio(measured(values), measured([1.0] * count))
    assert (found.interval.low, found.interval.high) == (low, high)
    assert found.value == statistics.median(values)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_rounds_give_the_whole_range(count):
    found = ratio(measured(range(1, count + 1)), measured([1.0] * count))
    assert (found.interval.low, found.interval.high) == (1, count)


def test_the_number_of_turns_is_the_same_for_all():
    world = World()
    latency({n: world.model(n, 0.25) for n in "ab"}, repeats=11, seconds=1e9, clock=world.clock)
    counts = Counter(world.calls)
    assert counts["a"] == counts["b"]


def test_samples_of_different_measurements_are_refused():
    with pytest.raises(UsageError, match=r"ratio.samples_ms: got \(2, 3\).*one call of latency"):
        ratio(measured([1, 1]), measured([1, 1, 1]))
