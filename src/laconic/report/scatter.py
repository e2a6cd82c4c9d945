"""Draws scores against a cost: a point for each model, a line for each limit, shade where all limits hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from laconic.measure import Score
from laconic.report import wording
from laconic.report.plots import ALLOWED, LIMIT, ORIGINAL, RESULT, TAKEN_BACK, axis, layout, literal

FARTHEST = 1.5  # a limit farther right than so many times the largest cost would squeeze the points together


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One measured cost: its value and spread in the axis's unit, and how it reads."""

    value: float
    low: float
    high: float
    words: str


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How a kind of point is drawn, and on which side of it its label stands."""

    colour: str
    symbol: str
    size: int
    label: Literal["top", "bottom", "middle center"]


Role = Literal["original", "taken back", "result"]
_LOOKS: dict[Role, _Look] = {
    "original": _Look(colour=ORIGINAL, symbol="square", size=12, label="top"),
    "taken back": _Look(colour=TAKEN_BACK, symbol="circle", size=18, label="middle center"),
    "result": _Look(colour=RESULT, symbol="circle", size=14, label="bottom"),
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model that has both figures.

    Args:
        role: what became of it.
        name: in full, for those who point at it.
        label: beside the point or in it.
        cost: horizontal.
        score: vertical.
    """

    role: Role
    name: str
    label: str
    cost: Cost
    score: Score


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The budget's limits, in the axes' units; None where there is none.

    Args:
        cost: the most that is allowed.
        cost_words: how that reads.
        score: the worst score that is allowed, as the metric gives it.
    """

    cost: float | None
    cost_words: str
    score: float | None


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where the axes end; `scale` turns a score into the vertical axis's unit."""

    right: float
    bottom: float
    top: float
    scale: float
    higher_is_better: bool


def draws_cost_limit(points: tuple[Point, ...], limits: Limits) -> bool:
    """Whether the cost's limit lies near enough to the points to be drawn."""
    return limits.cost is not None and limits.cost <= FARTHEST * max(point.cost.high for point in points)


def scatter(points: tuple[Point, ...], limits: Limits, axis_title: str) -> go.Figure:
    """Returns the figure; at least one point is needed."""
    metric = points[0].score.metric
    frame = _frame(points, limits)
    unit = ", %" if frame.scale != 1 else f" ({'higher' if frame.higher_is_better else 'lower'} is better)"
    figure = go.Figure([_marker(point, frame) for point in points])
    figure.update_layout(
        layout(
            xaxis=axis(axis_title, range=[0, frame.right], nticks=6),
            yaxis=axis(f"{literal(metric)}{unit}", range=[frame.bottom, frame.top], nticks=7),
        )
    )
    cost = limits.cost if draws_cost_limit(points, limits) else None
    if limits.cost is not None or limits.score is not None:
        _shade(figure, cost, limits.score, frame)
    if cost is not None:
        _cost_line(figure, cost, limits.cost_words, frame)
    if limits.score is not None:
        _score_line(figure, limits.score, metric, frame)
    return figure


def _frame(points: tuple[Point, ...], limits: Limits) -> _Frame:
    score = points[0].score
    scale = 100.0 if wording.is_share(score.metric) else 1.0
    costs = [point.cost.high for point in points]
    if limits.cost is not None and draws_cost_limit(points, limits):
        costs.append(limits.cost)
    values = [end for point in points for end in (*_ends(point.score), point.score.value)]
    values += [] if limits.score is None else [limits.score]
    low, high = scale * min(values), scale * max(values)
    pad = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    return _Frame(
        right=1.12 * max(costs) or 1.0,
        bottom=low - pad,
        top=high + pad,
        scale=scale,
        higher_is_better=score.higher_is_better,
    )


def _ends(score: Score) -> tuple[float, float]:
    return (score.interval.low, score.interval.high) if score.interval else (score.value, score.value)


def _marker(point: Point, frame: _Frame) -> go.Scatter:
    look, cost, score = _LOOKS[point.role], point.cost, point.score
    inside = look.label == "middle center"
    side = "left" if cost.value > frame.right / 2 else "right"
    return go.Scatter(
        x=[cost.value],
        y=[frame.scale * score.value],
        mode="markers+text",
        text=[f"<b>{point.label}</b>"],
        textposition=look.label if inside else f"{look.label} {side}",
        textfont={"color": "#ffffff" if inside else look.colour, "size": 11 if inside else 13},
        cliponaxis=False,
        marker={"color": look.colour, "symbol": look.symbol, "size": look.size, "opacity": 1, "line": {"width": 0}},
        **_error_bars(point, frame, look.colour),
        # Names travel as data: in a template plotly would fill in whatever looks like %{a field}.
        customdata=[
            [
                literal(point.name),
                f"{literal(score.metric)} {wording.score(score.value, score.metric)}",
                cost.words,
            ]
        ],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
    )


def _error_bars(point: Point, frame: _Frame, colour: str) -> dict[str, Any]:
    low, high = _ends(point.score)
    value, cost, scale = point.score.value, point.cost, frame.scale
    bar = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 4, "color": colour}
    return {
        "error_x": {**bar, "array": [cost.high - cost.value], "arrayminus": [cost.value - cost.low]},
        "error_y": {**bar, "array": [scale * (high - value)], "arrayminus": [scale * (value - low)]},
    }


_LINE = {"type": "line", "line": {"color": LIMIT, "width": 1.5, "dash": "dash"}, "layer": "between"}
_WORDS = {"showarrow": False, "font": {"size": 12}}


def _shade(figure: go.Figure, cost: float | None, score: float | None, frame: _Frame) -> None:
    best, worst = (frame.top, frame.bottom) if frame.higher_is_better else (frame.bottom, frame.top)
    figure.add_shape(
        type="rect",
        x0=0,
        x1=frame.right if cost is None else cost,
        y0=worst if score is None else frame.scale * score,
        y1=best,
        fillcolor=ALLOWED,
        line_width=0,
        layer="below",
    )


def _cost_line(figure: go.Figure, cost: float, words: str, frame: _Frame) -> None:
    figure.add_shape(x0=cost, x1=cost, y0=frame.bottom, y1=frame.top, **_LINE)
    anchor = "left" if cost < 0.42 * frame.right else "right"  # On a narrow screen the words fill more than half.
    figure.add_annotation(
        x=cost, y=frame.top, yanchor="bottom", xanchor=anchor, xshift=-2, text=f"budget: {words}", **_WORDS
    )


def _score_line(figure: go.Figure, score: float, metric: str, frame: _Frame) -> None:
    height = frame.scale * score
    figure.add_shape(x0=0, x1=frame.right, y0=height, y1=height, **_LINE)
    side, anchor = ("least", "top") if frame.higher_is_better else ("most", "bottom")
    words = f"budget: at {side} {wording.score(score, metric)}"
    figure.add_annotation(x=frame.right, y=height, xanchor="right", yanchor=anchor, text=words, **_WORDS)
