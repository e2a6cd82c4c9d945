"""The parts of a plan and the ways beside it, as rows of text that every renderer prints alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from laconic.report import wording
from laconic.report.record import Report, Way

STEP_TITLES = ("Step", "Weights", "Multiply-adds", "Distance")
NOTHING = "-"
WAY_TITLES = ("Way", "File, about", "MACs", "Nats", "Verdict")


def step_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Yields what each part of the plan cost and saved, under `STEP_TITLES`."""
    for step in report.steps:
        yield step.done, wording.byte_size(step.size_bytes), wording.short_count(step.macs), f"{_nats(step.nats)} nats"


def way_rows(ways: Iterable[Way]) -> Iterator[tuple[str, ...]]:
    """Yields what was considered before anything was tried, under `WAY_TITLES`."""
    for way in ways:
        size = NOTHING if way.size_bytes is None else wording.byte_size(way.size_bytes)
        macs = NOTHING if way.macs is None else wording.short_count(way.macs)
        nats = (NOTHING if size == NOTHING else "not possible") if way.nats is None else _nats(way.nats)
        yield way.plan, size, macs, nats, way.verdict


def _nats(nats: float) -> str:
    return wording.significant(max(nats, 0.0)) if nats >= 1e-5 else "under 0.00001"
