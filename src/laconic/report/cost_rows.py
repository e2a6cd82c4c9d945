"""Rows of what a model costs: bytes, parameters, multiply-accumulates, time, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from laconic.measure import Figures, Interval, Latency, ratio
from laconic.report import wording
from laconic.report.row import UNKNOWN, Cell, Row, Verdict, missing


@dataclass(frozen=True, kw_only=True)
class _Amount:
    """A figure that is better when it is smaller, and how to say it."""

    field: Literal["size_bytes", "parameters", "macs", "peak_memory_bytes"]
    figure: str
    meaning: str
    say: Callable[[int], str]
    unit: str
    less: str
    more: str


_AMOUNTS = (
    _Amount(
        field="size_bytes",
        figure="File size",
        meaning="What has to be stored, shipped and loaded.",
        say=wording.byte_size,
        unit=" B",
        less="smaller",
        more="LARGER",
    ),
    _Amount(
        field="parameters",
        figure="Parameters",
        meaning="Learned numbers in the model; storing each in fewer bits does not change their count.",
        say=wording.short_count,
        unit="",
        less="fewer",
        more="more",
    ),
    _Amount(
        field="macs",
        figure="Multiply-adds (MACs)",
        meaning="Multiplications with addition that one sample takes; cheaper ones, as in 8 bits, count the same.",
        say=wording.short_count,
        unit="",
        less="fewer",
        more="more",
    ),
)
_MEMORY = _Amount(
    field="peak_memory_bytes",
    figure="Peak memory",
    meaning="The most that a fresh process held while it loaded and ran the model, the runtime itself included.",
    say=wording.byte_size,
    unit=" B",
    less="less",
    more="more",
)


def amounts(original: Figures, compressed: Figures) -> tuple[Row, ...]:
    """Returns the rows of file size, parameters and multiply-accumulates."""
    return tuple(_amount(amount, original, compressed) for amount in _AMOUNTS)


def memory(original: Figures, compressed: Figures) -> Row:
    """Returns the row of peak memory."""
    return _amount(_MEMORY, original, compressed)


def _amount(amount: _Amount, original: Figures, compressed: Figures) -> Row:
    before, after = getattr(original, amount.field), getattr(compressed, amount.field)
    comparison, verdict = _ratio(before, after, amount)
    return Row(
        figure=amount.figure,
        meaning=amount.meaning,
        original=_amount_cell(amount, original),
        compressed=_amount_cell(amount, compressed),
        ratio=comparison,
        verdict=verdict,
    )


def _amount_cell(amount: _Amount, figures: Figures) -> Cell:
    value: int | None = getattr(figures, amount.field)
    if value is None:
        return missing(figures, amount.field)
    exact = f"{value:,}{amount.unit}"
    said = amount.say(value)
    return Cell(value=said, detail="" if said == exact else exact)


def _ratio(before: int | None, after: int | None, words: _Amount) -> tuple[Cell, Verdict]:
    if before is None or after is None:
        return UNKNOWN, "none"
    if before == 0:
        return Cell(value="no ratio", detail="the original has none"), "none"
    found = after / before
    return Cell(value=_share(found), detail=wording.change(found, words.less, words.more)), _lower_is_better(found)


def _share(found: float) -> str:
    return f"{wording.significant(found, 2 if found < 1 else 3)}x"


def _lower_is_better(found: float) -> Verdict:
    if abs(found - 1) < wording.SAME:
        return "same"
    return "better" if found < 1 else "worse"


def latencies(original: Figures, compressed: Figures) -> tuple[Row, ...]:
    """Returns a row for each number of threads; a single one with the reason when none was measured."""
    threads = sorted(original.latency.keys() | compressed.latency.keys())
    if not threads:
        return (_latency("Latency", original, compressed, None),)
    return tuple(_latency(f"Latency, {n} thread{'s' * (n > 1)}", original, compressed, n) for n in threads)


def _latency(figure: str, original: Figures, compressed: Figures, threads: int | None) -> Row:
    before, after = (figures.latency.get(threads or 0) for figures in (original, compressed))
    comparison, verdict = _latency_ratio(before, after)
    return Row(
        figure=figure,
        meaning="Time of one inference: the median, and the range that the middle half of the repeats fell in.",
        original=_latency_cell(before, original),
        compressed=_latency_cell(after, compressed),
        ratio=comparison,
        verdict=verdict,
    )


def _latency_cell(found: Latency | None, figures: Figures) -> Cell:
    if found is None:
        return missing(figures, "latency")
    low, high = (wording.significant(ms) for ms in (found.low_ms, found.high_ms))
    return Cell(value=f"{wording.significant(found.median_ms)} ms", detail=f"{low} to {high}")


def latency_ratio(before: Latency, after: Latency) -> tuple[float, Interval | None]:
    """Returns compressed / original and its 95 % interval, None where the two were not measured in the same rounds."""
    if before.samples_ms and len(before.samples_ms) == len(after.samples_ms):
        paired = ratio(after, before)
        return paired.value, paired.interval
    return after.median_ms / before.median_ms, None


def _latency_ratio(before: Latency | None, after: Latency | None) -> tuple[Cell, Verdict]:
    if before is None or after is None:
        return UNKNOWN, "none"
    found, interval = latency_ratio(before, after)
    if interval is not None and interval.low <= 1 <= interval.high:
        return Cell(value=_share(found), detail="no clear difference"), "same"
    return Cell(value=_share(found), detail=wording.change(found, "faster", "SLOWER")), _lower_is_better(found)
