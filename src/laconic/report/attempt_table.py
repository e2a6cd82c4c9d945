"""What was tried, as rows of text that every renderer prints alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from laconic.report import wording
from laconic.report.record import Attempt, Report
from laconic.report.row import Cell, missing


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """An attempt in words; what was not measured says why."""

    name: str
    plan: str
    size: Cell
    latency: Cell
    score: Cell
    outcome: Literal["accepted", "best attempt", "taken back"]
    why: str


def attempt_rows(report: Report) -> tuple[AttemptRow, ...]:
    """Returns the attempts in the order in which they were made; latencies at the target's number of threads."""
    return tuple(_row(attempt, report) for attempt in report.attempts)


def _row(attempt: Attempt, report: Report) -> AttemptRow:
    figures = attempt.figures
    size, latency, score = figures.size_bytes, figures.latency.get(report.target.threads), figures.score
    returned: Literal["accepted", "best attempt"] = "accepted" if report.met else "best attempt"
    return AttemptRow(
        name=attempt.name,
        plan=attempt.plan,
        size=missing(figures, "size_bytes") if size is None else Cell(value=wording.byte_size(size)),
        latency=missing(figures, "latency")
        if latency is None
        else Cell(value=f"{wording.significant(latency.median_ms)} ms"),
        score=missing(figures, "score") if score is None else Cell(value=wording.score(score.value, score.metric)),
        outcome=returned if attempt.accepted else "taken back",
        why=attempt.why,
    )
