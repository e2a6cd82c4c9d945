"""The plots of score against cost: the original, what was tried, the result, and the budget's limits."""

from __future__ import annotations

from collections.abc import Callable

from laconic.core.budget import Limit
from laconic.measure import Figures
from laconic.report import wording
from laconic.report.plots import Plot
from laconic.report.record import Report
from laconic.report.scatter import Cost, Limits, Point, Role, draws_cost_limit, scatter


def against_size(report: Report) -> Plot:
    """Returns the plot of score against file size."""
    models = (report.original, report.compressed, *(attempt.figures for attempt in report.attempts))
    factor, unit = wording.byte_unit(max(figures.size_bytes or 0 for figures in models))
    bound = _bound(report.budget.limits.get("size"), report.original.size_bytes)

    def cost(figures: Figures) -> Cost | None:
        if figures.size_bytes is None:
            return None
        size = figures.size_bytes / factor
        return Cost(value=size, low=size, high=size, words=f"{figures.size_bytes:,} B")

    limits = Limits(
        cost=None if bound is None else bound / factor,
        cost_words="" if bound is None else f"at most {wording.byte_size(bound)}",
        score=_score_bound(report),
    )
    return _plot("size", f"file size, {unit}", _points(report, cost), limits)


def against_latency(report: Report) -> Plot:
    """Returns the plot of score against latency, at the target's number of threads."""
    threads = report.target.threads
    original = report.original.latency.get(threads)
    bound = _bound(report.budget.limits.get("latency"), original.median_ms if original else None)

    def cost(figures: Figures) -> Cost | None:
        found = figures.latency.get(threads)
        if found is None:
            return None
        words = f"{wording.significant(found.median_ms)} ms"
        return Cost(value=found.median_ms, low=found.low_ms, high=found.high_ms, words=words)

    limits = Limits(
        cost=bound, cost_words="" if bound is None else f"at most {bound:.4g} ms", score=_score_bound(report)
    )
    axis_title = f"median latency, ms ({threads} thread{'s' * (threads > 1)})"
    return _plot("latency", axis_title, _points(report, cost), limits)


def _bound(limit: Limit | None, original: float | None) -> float | None:
    """A limit as an amount; None where there is none, or where it is a share of what was not measured."""
    if limit is None or (limit.relative and original is None):
        return None
    return limit.bound(original or 0.0)


def _score_bound(report: Report) -> float | None:
    score, drop = report.original.score, report.budget.allowed_drop
    if score is None or drop is None:
        return None
    return score.value - drop if score.higher_is_better else score.value + drop


def _points(report: Report, cost: Callable[[Figures], Cost | None]) -> tuple[Point, ...]:
    named: list[tuple[Role, str, str, Figures]] = [("original", "original", "original", report.original)]
    for number, attempt in enumerate(report.attempts, 1):
        if not attempt.accepted:
            named.append(("taken back", f"{number}. {attempt.name}", str(number), attempt.figures))
    named.append(("result", f"result: {report.compressed.name}", "result", report.compressed))
    return tuple(
        Point(role=role, name=name, label=label, cost=found, score=figures.score)
        for role, name, label, figures in named
        if (found := cost(figures)) is not None and figures.score is not None
    )


def _plot(kind: str, axis_title: str, points: tuple[Point, ...], limits: Limits) -> Plot:
    name = f"score-against-{kind}"
    if not points:
        caption = f"Nothing to draw: no model has both its {kind} and its score measured."
        return Plot(name=name, title=f"Score against {kind}", caption=caption, alt=caption, figure=None)
    title = f"{wording.metric_name(points[0].score.metric)} against {kind}"
    told = "; ".join(f"{p.name}: {p.cost.words}, {wording.score(p.score.value, p.score.metric)}" for p in points)
    return Plot(
        name=name,
        title=title,
        caption=_caption(kind, points, limits),
        alt=f"{title}. {told}.",
        figure=scatter(points, limits, axis_title),
    )


def _caption(kind: str, points: tuple[Point, ...], limits: Limits) -> str:
    better = "up" if points[0].score.higher_is_better else "down"
    spread = " and middle half of the repeats of the latency" if kind == "latency" else ""
    parts = [f"Better is to the left and {better}. Bars: 95 % interval of the score{spread}."]
    if limits.cost is not None or limits.score is not None:
        parts.append("Shaded: what the budget allows.")
    if limits.cost is not None and not draws_cost_limit(points, limits):
        parts.append(f"Its limit, {limits.cost_words}, lies beyond the right edge.")
    if any(point.role == "taken back" for point in points):
        parts.append("Numbers: attempts that were taken back, in the order of the table below.")
    return " ".join(parts)
