import dataclasses

from laconic.core.budget import Budget
from laconic.report import headline, verdict

from . import samples


def test_the_headline_says_size_speed_and_score() -> None:
    assert headline(samples.digits()) == "6.4x smaller, 1.64x faster, 0.28 points of accuracy lost"


def test_the_headline_is_loud_about_a_slower_model() -> None:
    assert "1.39x SLOWER" in headline(samples.missed())


def test_the_headline_says_what_was_not_measured() -> None:
    assert headline(samples.unmeasured()) == "Size unknown, speed not measured, score not measured"


def test_the_headline_gives_both_values_of_a_metric_that_is_no_share() -> None:
    assert headline(samples.regression()).endswith("mse worse, from 0.01130 to 0.01260")


def test_a_change_too_small_to_be_shown_is_no_change() -> None:
    report = samples.regression()
    score = dataclasses.replace(report.original.score, value=report.original.score.value + 1e-9)
    report = dataclasses.replace(report, compressed=dataclasses.replace(report.compressed, score=score))
    assert headline(report).endswith("mse 0.01130 as before")


def test_an_unchanged_model_is_said_to_be_unchanged() -> None:
    report = samples.digits()
    same = dataclasses.replace(report, compressed=report.original)
    assert headline(same) == "The same size, as fast as before, no accuracy lost"


def test_a_gain_is_not_called_a_loss() -> None:
    report = samples.digits()
    better = dataclasses.replace(report, original=report.compressed, compressed=report.original)
    assert headline(better) == "6.4x LARGER, 1.64x SLOWER, 0.28 points of accuracy gained"


def test_the_verdict_says_met_missed_or_without_budget() -> None:
    report = samples.digits()
    assert verdict(report) == "The budget is met: size <= 25% of the original, latency <= 0.4 ms, drop <= 0.6 points."
    assert verdict(samples.missed()).startswith("The budget is NOT met (2 limits missed): ")
    assert verdict(dataclasses.replace(report, budget=Budget())) == "No budget was set."
