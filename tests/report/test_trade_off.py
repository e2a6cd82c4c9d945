import dataclasses

import pytest

from laconic.core.budget import Budget
from laconic.core.target import Target
from laconic.report import Report
from laconic.report.trade_off import against_latency, against_size

from . import samples


def points(report: Report) -> list[tuple[str, float, float]]:
    figure = against_size(report).figure
    return [(trace.text[0], trace.x[0], trace.y[0]) for trace in figure.data]


def test_the_original_every_attempt_taken_back_and_the_result_are_drawn_once() -> None:
    assert points(samples.digits()) == [
        ("<b>original</b>", pytest.approx(1.980432), pytest.approx(100 * 355 / 360)),
        ("<b>1</b>", pytest.approx(0.5123), pytest.approx(100 * 355 / 360)),
        ("<b>2</b>", pytest.approx(0.281004), pytest.approx(100 * 349 / 360)),
        ("<b>result</b>", pytest.approx(0.308914), pytest.approx(100 * 354 / 360)),
    ]


def test_error_bars_end_where_the_confidence_interval_ends() -> None:
    result = against_size(samples.digits()).figure.data[-1]
    interval = samples.accuracy(354).interval
    assert interval is not None
    assert result.y[0] + result.error_y.array[0] == pytest.approx(100 * interval.high)
    assert result.y[0] - result.error_y.arrayminus[0] == pytest.approx(100 * interval.low)


def test_the_budgets_limits_are_lines_and_what_they_allow_is_shaded() -> None:
    figure = against_size(samples.digits()).figure
    area, size, score = figure.layout.shapes
    assert size.x0 == size.x1 == pytest.approx(0.25 * 1.980432)
    assert score.y0 == score.y1 == pytest.approx(100 * (355 / 360 - 0.006))
    assert (area.x0, area.x1, area.y0) == (0, size.x0, score.y0)
    assert area.y1 == figure.layout.yaxis.range[1]


def test_of_a_metric_that_is_better_lower_the_lower_part_is_shaded() -> None:
    plot = against_size(samples.regression())
    area = plot.figure.layout.shapes[0]
    assert (area.y0, area.y1) == (pytest.approx(0.0133), plot.figure.layout.yaxis.range[0])
    assert "to the left and down" in plot.caption


def test_without_a_budget_no_limit_is_drawn() -> None:
    report = dataclasses.replace(samples.digits(), budget=Budget())
    assert not against_size(report).figure.layout.shapes
    assert not against_latency(report).figure.layout.shapes


def test_a_limit_far_beyond_the_points_is_said_and_does_not_squeeze_them() -> None:
    plot = against_latency(dataclasses.replace(samples.digits(), budget=Budget(latency="1 s")))
    assert plot.figure.layout.xaxis.range[1] < 1
    assert [shape.type for shape in plot.figure.layout.shapes] == ["rect"]
    assert "at most 1000 ms, lies beyond the right edge" in plot.caption


def test_an_amount_as_limit_is_drawn_though_the_original_was_not_measured() -> None:
    report = samples.digits()
    unknown = dataclasses.replace(report.original, size_bytes=None)
    absolute = dataclasses.replace(report, original=unknown, budget=Budget(size="300 KB"))
    relative = dataclasses.replace(report, original=unknown, budget=Budget(size=0.25))
    assert against_size(absolute).figure.layout.shapes[1].x0 == pytest.approx(300)
    assert not against_size(relative).figure.layout.shapes


def test_everything_drawn_lies_within_the_axes() -> None:
    for report in (samples.digits(), samples.missed(), samples.regression()):
        for plot in (against_size(report), against_latency(report)):
            (_, right), (bottom, top) = plot.figure.layout.xaxis.range, plot.figure.layout.yaxis.range
            for trace in plot.figure.data:
                assert trace.x[0] + trace.error_x.array[0] < right
                assert bottom < trace.y[0] - trace.error_y.arrayminus[0]
                assert trace.y[0] + trace.error_y.array[0] < top


def test_latency_is_that_at_the_targets_number_of_threads() -> None:
    report = dataclasses.replace(samples.digits(), target=Target(threads=2))
    plot = against_latency(report)
    assert plot.figure.data[0].x[0] == report.original.latency[2].median_ms
    assert "2 threads" in plot.figure.layout.xaxis.title.text


def test_without_any_score_the_plot_says_why_it_is_not_there() -> None:
    plot = against_latency(samples.unmeasured())
    assert plot.figure is None
    assert plot.caption == "Nothing to draw: no model has both its latency and its score measured."


def test_the_plot_is_told_in_words_for_those_who_cannot_see_it() -> None:
    alt = against_size(samples.digits()).alt
    assert "original: 1,980,432 B, 98.61 %" in alt
    assert "result: int8 + int4: 308,914 B, 98.33 %" in alt
