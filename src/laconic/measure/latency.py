"""Latency, measured so that two models can be compared: interleaved, warmed up, with a robust spread."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field

from pydantic.dataclasses import dataclass

from laconic.core.errors import invalid
from laconic.measure.intervals import CONFIDENCE, Interval
from laconic.measure.record import RECORD

# Shorter calls are timed several at once, since clocks blur a lone one; but no more of them, since a sample as long as
# a scheduler's time slice (about 3 ms) is cut short on a busy machine nearly always, and a short one seldom.
SHORTEST_SAMPLE_SECONDS = 5e-4
LONGEST_HICCUP_SECONDS = 2e-2
TRIALS = 5
FEWEST_ROUNDS = 3
MOST_CALLS = 2**16

Call = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Latency:
    """Time of one call.

    Args:
        median_ms: median over samples.
        low_ms: lower quartile.
        high_ms: upper quartile.
        samples_ms: one sample a round, each the mean of `calls_per_sample` calls. Samples of models measured
            together belong to the same rounds, one by one.
        calls_per_sample: calls timed at once.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    samples_ms: tuple[float, ...] = field(repr=False)
    calls_per_sample: int = 1


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Ratio:
    """A ratio of two latencies, with its 95 % interval."""

    value: float
    interval: Interval


def latency(
    runners: Mapping[str, Call],
    *,
    repeats: int = 100,
    warmup: int = 2,
    seconds: float = 10.0,
    pause_ms: float = 0.0,
    seed: int = 0,
    clock: Clock = time.perf_counter,
) -> dict[str, Latency]:
    """Times several models against each other.

    In every round each model has one turn, in an order shuffled anew, so that a machine that slows down slows all of
    them down. A turn is one call that is not timed, since the models evict each other from the caches, and one timed
    sample. The garbage collector is off meanwhile.

    Args:
        runners: what to call, by name.
        repeats: most rounds.
        warmup: rounds thrown away first.
        seconds: budget for all of it; rounds stop when the next one would exceed it, but not before three.
        pause_ms: sleep before each turn, for runtimes whose worker threads spin on after a call and take the next
            model's cores. Better to turn the spinning off and not to pause: in ONNX Runtime, set
            `session.force_spinning_stop`. On two cores a pair of equal two-thread sessions then had a ratio of 1.00,
            instead of anything from 0.7 to 1.2.
        seed: of the shuffle.
        clock: seconds, monotonic.

    Returns:
        The same names, each with as many samples as there were rounds.

    Example:
        >>> found = latency({"original": lambda: sum(range(99)), "compressed": lambda: None}, repeats=5)
        >>> [(name, len(one.samples_ms)) for name, one in found.items()]
        [('original', 5), ('compressed', 5)]
    """
    _check(runners, repeats, warmup, seconds, pause_ms)
    order = random.Random(seed)
    start = clock()
    with _collector_off():
        calls = {name: _calls_per_sample(call, clock) for name, call in runners.items()}

        def one_round() -> dict[str, float]:
            names = order.sample(list(runners), len(runners))
            return {name: _turn(runners[name], calls[name], pause_ms, clock) for name in names}

        for _ in range(warmup):
            one_round()
        rounds = _within(one_round, repeats, start + seconds, clock)
    return {name: _summary([one[name] for one in rounds], calls[name]) for name in runners}


def ratio(numerator: Latency, denominator: Latency) -> Ratio:
    """Returns the median over rounds of the ratio of two models' samples: what slows down a round cancels.

    The interval is that of the median by order statistics, free of any assumption on the noise's distribution; with
    fewer than six rounds it spans all of them and is not quite 95 %.

    Reference:
        Conover, 1999, "Practical Nonparametric Statistics", section 3.2.

    Example:
        >>> one = Latency(median_ms=2, low_ms=2, high_ms=2, samples_ms=(2, 2, 2))
        >>> ratio(one, one).value
        1.0
    """
    if len(numerator.samples_ms) != len(denominator.samples_ms) or not numerator.samples_ms:
        raise invalid(
            "ratio.samples_ms",
            (len(numerator.samples_ms), len(denominator.samples_ms)),
            "as many samples of one model as of the other",
            "Measure both in one call of latency().",
        )
    ratios = sorted(a / b for a, b in zip(numerator.samples_ms, denominator.samples_ms, strict=True))
    skipped = _ranks_outside(len(ratios))
    return Ratio(
        value=statistics.median(ratios),
        interval=Interval(low=ratios[skipped], high=ratios[-1 - skipped]),
    )


def _ranks_outside(count: int) -> int:
    """How many of `count` ordered values lie outside the 95 % interval of their median, on either side."""
    skipped, tail = 0, 1 / 2**count  # probability that at most `skipped` values fall below the median
    while (tail := tail + math.comb(count, skipped + 1) / 2**count) <= (1 - CONFIDENCE) / 2:
        skipped += 1
    return skipped


def _check(runners: Mapping[str, Call], repeats: int, warmup: int, seconds: float, pause_ms: float) -> None:
    if not runners:
        raise invalid("latency.runners", {}, "at least one thing to call")
    if repeats < 1:
        raise invalid("latency.repeats", repeats, "a positive number of rounds")
    if warmup < 0:
        raise invalid("latency.warmup", warmup, "zero or more rounds")
    if not seconds > 0:
        raise invalid("latency.seconds", seconds, "a positive number of seconds")
    if not pause_ms >= 0:
        raise invalid("latency.pause_ms", pause_ms, "zero or more milliseconds")


def _within(one_round: Callable[[], dict[str, float]], most: int, end: float, clock: Clock) -> list[dict[str, float]]:
    rounds: list[dict[str, float]] = []
    longest = 0.0
    while len(rounds) < most:
        start = clock()
        if len(rounds) >= FEWEST_ROUNDS and start + longest > end:
            break
        rounds.append(one_round())
        longest = max(longest, clock() - start)
    return rounds


def _calls_per_sample(call: Call, clock: Clock) -> int:
    call()
    count = 1
    while _too_short(call, count, clock) and count < MOST_CALLS:
        count *= 2
    return count


def _too_short(call: Call, count: int, clock: Clock) -> bool:
    """Whether any of a few trials is: what takes a few milliseconds once may have been a short call and a hiccup."""
    for _ in range(TRIALS):
        seconds = _timed(call, count, clock)
        if seconds < SHORTEST_SAMPLE_SECONDS or seconds > LONGEST_HICCUP_SECONDS:
            return seconds < SHORTEST_SAMPLE_SECONDS
    return False


def _turn(call: Call, count: int, pause_ms: float, clock: Clock) -> float:
    """One sample: milliseconds a call."""
    if pause_ms:
        time.sleep(pause_ms / 1e3)
    call()
    return _timed(call, count, clock) / count * 1e3


def _timed(call: Call, count: int, clock: Clock) -> float:
    turns = range(count)
    start = clock()
    for _ in turns:
        call()
    return clock() - start


@contextmanager
def _collector_off() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _summary(samples_ms: Sequence[float], calls: int) -> Latency:
    if len(samples_ms) > 1:
        low, median, high = statistics.quantiles(samples_ms, n=4, method="inclusive")
    else:
        low = median = high = samples_ms[0]
    return Latency(median_ms=median, low_ms=low, high_ms=high, samples_ms=tuple(samples_ms), calls_per_sample=calls)
