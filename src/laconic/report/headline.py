"""The answer in one sentence, and whether the budget holds."""

from __future__ import annotations

from laconic.measure import Figures, Score
from laconic.report import wording
from laconic.report.cost_rows import latency_ratio
from laconic.report.record import Report


def headline(report: Report) -> str:
    """Says size, speed and score in one sentence, such as `"6.4x smaller, 1.64x faster, 0.28 points of accuracy lost"`.

    Guarantees:
        A model that became slower or larger is said to be SLOWER or LARGER; what was not measured is said too.
    """
    original, compressed = report.original, report.compressed
    said = (
        _size(original, compressed),
        _speed(original, compressed, report.target.threads),
        _score(original.score, compressed.score),
    )
    sentence = ", ".join(said)
    return sentence[0].upper() + sentence[1:]


def verdict(report: Report) -> str:
    """Says in one sentence whether the budget holds."""
    if not report.limited:
        return "No budget was set."
    score = report.original.score
    budget = report.budget.said(share=score is not None and wording.is_share(score.metric))
    if report.met:
        return f"The budget is met: {budget}."
    count = len(report.misses)
    return f"The budget is NOT met ({count} limit{'s' * (count > 1)} missed): {budget}."


def _size(original: Figures, compressed: Figures) -> str:
    if not original.size_bytes or compressed.size_bytes is None:
        return "size unknown"
    ratio = compressed.size_bytes / original.size_bytes
    return _said(wording.change(ratio, "smaller", "LARGER"), "the same size")


def _speed(original: Figures, compressed: Figures, threads: int) -> str:
    before, after = original.latency.get(threads), compressed.latency.get(threads)
    if before is None or after is None:
        return "speed not measured"
    ratio, interval = latency_ratio(before, after)
    if interval is not None and interval.low <= 1 <= interval.high:
        return "as fast as before"
    return _said(wording.change(ratio, "faster", "SLOWER"), "as fast as before")


def _said(change: str, same: str) -> str:
    return same if change == "the same" else change


def _score(before: Score | None, after: Score | None) -> str:
    if before is None or after is None:
        return "score not measured"
    difference = after.value - before.value
    if difference == 0:
        return f"no {after.metric} lost"
    if wording.is_share(after.metric):
        moved = "gained" if (difference > 0) == after.higher_is_better else "lost"
        return f"{100 * abs(difference):.2f} points of {after.metric} {moved}"
    better = (difference > 0) == after.higher_is_better
    values = [wording.score(score.value, score.metric) for score in (before, after)]
    if len(set(values)) == 1:
        return f"{after.metric} {values[0]} as before"
    return f"{after.metric} {'better' if better else 'worse'}, from {' to '.join(values)}"
