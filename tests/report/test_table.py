import dataclasses

import pytest

from laconic.measure import Figures, Interval, Latency, Score
from laconic.report import Row, rows

from . import samples
from .samples import figures


def named(found: tuple[Row, ...], name: str) -> Row:
    return next(row for row in found if row.figure == name)


def timed(*samples_ms: float, threads: int = 1) -> Figures:
    middle = sorted(samples_ms)[len(samples_ms) // 2]
    found = Latency(median_ms=middle, low_ms=min(samples_ms), high_ms=max(samples_ms), samples_ms=samples_ms)
    return Figures(name="model", latency={threads: found})


def scored(value: float, *, low: float, high: float, higher_is_better: bool = True, metric: str = "f1") -> Figures:
    interval = Interval(low=low, high=high)
    score = Score(metric=metric, value=value, interval=interval, predictions=50, higher_is_better=higher_is_better)
    return Figures(name="model", score=score)


def test_the_rows_are_those_that_were_promised_in_their_order() -> None:
    report = samples.digits()
    assert [row.figure for row in rows(report.original, report.compressed)] == [
        "File size",
        "Parameters",
        "Multiply-adds (MACs)",
        "Latency, 1 thread",
        "Latency, 2 threads",
        "Peak memory",
        "Accuracy",
        "KL to the original",
        "Same answer as the original",
        "Artifact against PyTorch",
    ]


@pytest.mark.parametrize("name", samples.ALL)
def test_no_cell_is_empty(name: str) -> None:
    report = samples.ALL[name]()
    for row in rows(report.original, report.compressed):
        assert row.figure and row.meaning and row.original.value and row.compressed.value and row.ratio.value


def test_a_size_is_said_in_words_exactly_and_as_a_ratio() -> None:
    before, after = figures("original", size=2_000_000, ms=1, right=9), figures("int8", size=500_000, ms=1, right=9)
    size = named(rows(before, after), "File size")
    assert (size.original.value, size.original.detail) == ("2.00 MB", "2,000,000 B")
    assert (size.compressed.value, size.compressed.detail) == ("500 KB", "500,000 B")
    assert (size.ratio.value, size.ratio.detail, size.verdict) == ("0.25x", "4.0x smaller", "better")


def test_what_was_not_measured_says_why() -> None:
    found = rows(Figures(name="original"), Figures(name="int8", missing={"macs": "the model branches on its data"}))
    macs = named(found, "Multiply-adds (MACs)")
    assert (macs.original.value, macs.compressed.value) == ("not measured", "not measured")
    assert macs.compressed.detail == "the model branches on its data"
    assert (macs.ratio.value, macs.verdict) == ("unknown", "none")


def test_a_slower_model_is_said_to_be_slower_loudly() -> None:
    row = named(rows(timed(*[1.0] * 9), timed(*[1.5] * 9)), "Latency, 1 thread")
    assert (row.ratio.value, row.ratio.detail, row.verdict) == ("1.50x", "1.50x SLOWER", "worse")


def test_noise_is_not_called_a_difference() -> None:
    before = timed(1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 1.1, 0.9)
    after = timed(1.1, 1.0, 1.0, 0.9, 1.0, 1.0, 1.1, 0.9, 1.2)
    row = named(rows(before, after), "Latency, 1 thread")
    assert (row.ratio.detail, row.verdict) == ("no clear difference", "same")


def test_latencies_of_different_rounds_are_compared_by_their_medians() -> None:
    row = named(rows(timed(1.0, 2.0, 3.0), timed(1.0)), "Latency, 1 thread")
    assert row.ratio.value == "0.50x"


def test_a_number_of_threads_measured_on_one_side_only_still_has_its_row() -> None:
    row = named(rows(timed(1.0, threads=4), timed(1.0, threads=1)), "Latency, 4 threads")
    assert (row.original.value, row.compressed.value, row.ratio.value) == ("1.00 ms", "not measured", "unknown")


def test_a_score_is_judged_in_the_metrics_own_direction() -> None:
    higher = named(rows(scored(0.8, low=0.79, high=0.81), scored(0.7, low=0.69, high=0.71)), "f1")
    assert (higher.ratio.value, higher.ratio.detail, higher.verdict) == ("-0.1000", "worse", "worse")
    lower = named(
        rows(
            scored(0.8, low=0.79, high=0.81, higher_is_better=False, metric="mse"),
            scored(0.7, low=0.69, high=0.71, higher_is_better=False, metric="mse"),
        ),
        "mse",
    )
    assert lower.verdict == "better"
    assert "lower is better" in lower.meaning


def test_a_loss_within_the_originals_interval_is_said_to_be_so() -> None:
    found = named(rows(scored(0.8, low=0.7, high=0.9), scored(0.75, low=0.7, high=0.8)), "f1")
    assert found.ratio.detail == "worse, within the original's interval"


def test_accuracy_comes_with_its_interval_and_its_number_of_predictions() -> None:
    report = samples.digits()
    row = named(rows(report.original, report.compressed), "Accuracy")
    assert (row.compressed.value, row.compressed.detail) == ("98.33 %", "96.41 to 99.23")
    assert "360 predictions" in row.meaning
    assert row.ratio.value == "-0.28 points"


def test_regression_has_a_distance_in_place_of_kl_and_agreement() -> None:
    report = samples.regression()
    found = [row.figure for row in rows(report.original, report.compressed)]
    assert "Distance from the original" in found
    assert not {"KL to the original", "Same answer as the original"} & set(found)


def test_a_model_without_parameters_has_no_ratio_rather_than_a_division_by_zero() -> None:
    none = dataclasses.replace(samples.digits().original, parameters=0)
    assert named(rows(none, none), "Parameters").ratio.value == "no ratio"
