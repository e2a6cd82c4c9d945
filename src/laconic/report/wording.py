"""Numbers the way people read them: three significant digits, a unit, and words for ratios."""

from __future__ import annotations

import math

BYTE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "B"))
COUNT_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "K"), (1.0, ""))
SAME = 0.005  # ratios nearer to 1 than this are called the same


def significant(value: float, digits: int = 3) -> str:
    """Rounds to significant digits, never below whole numbers; powers of ten only for what is very small.

    Example:
        >>> significant(1234.5), significant(0.04126), significant(2.1e-7)
        ('1,234', '0.0413', '2.10e-07')
    """
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def byte_unit(count: float) -> tuple[float, str]:
    """Returns the largest unit that is no larger than the count, as (bytes, name).

    Example:
        >>> byte_unit(1_980_432)
        (1000000.0, 'MB')
    """
    return next((unit for unit in BYTE_UNITS if count >= unit[0]), BYTE_UNITS[-1])


def byte_size(count: float) -> str:
    """Says bytes in the unit that fits.

    Example:
        >>> byte_size(1_980_432), byte_size(312)
        ('1.98 MB', '312 B')
    """
    factor, unit = byte_unit(count)
    return f"{significant(count / factor)} {unit}"


def short_count(count: int) -> str:
    """Says a count, short from ten thousand on.

    Example:
        >>> short_count(494_410), short_count(1_234)
        ('494 K', '1,234')
    """
    if count < 10_000:
        return f"{count:,}"
    factor, unit = next(unit for unit in COUNT_UNITS if count >= unit[0])
    return f"{significant(count / factor)} {unit}"


def times(ratio: float) -> str:
    """A factor above 1, finer near 1 where small differences matter.

    Example:
        >>> times(1.043), times(6.41), times(12.87), times(412.3)
        ('1.04x', '6.4x', '12.9x', '412x')
    """
    return f"{ratio:.{2 if ratio < 2 else 1 if ratio < 100 else 0}f}x"


def change(ratio: float, less: str, more: str) -> str:
    """Says a ratio (compressed / original) in words.

    Example:
        >>> change(0.156, "smaller", "larger"), change(1.4, "faster", "SLOWER"), change(1.001, "faster", "SLOWER")
        ('6.4x smaller', '1.40x SLOWER', 'the same')
    """
    if abs(ratio - 1) < SAME:
        return "the same"
    if ratio == 0:
        return f"nothing left: infinitely {less}"
    return f"{times(1 / ratio)} {less}" if ratio < 1 else f"{times(ratio)} {more}"


def is_share(metric: str) -> bool:
    """Whether a metric is a fraction that people read in percent; of the metrics, accuracies are.

    Example:
        >>> is_share("top-5 accuracy"), is_share("mse")
        (True, False)
    """
    return "accuracy" in metric.lower()


def metric_name(metric: str) -> str:
    """Says a metric's name as a heading; abbreviations stay as they are.

    Example:
        >>> metric_name("accuracy"), metric_name("mse")
        ('Accuracy', 'mse')
    """
    return metric.capitalize() if is_share(metric) else metric


def score(value: float, metric: str) -> str:
    """Says a metric's value.

    Example:
        >>> score(0.98333, "accuracy"), score(0.012346, "mse")
        ('98.33 %', '0.01235')
    """
    return f"{100 * value:.2f} %" if is_share(metric) else significant(value, 4)


def score_change(difference: float, metric: str) -> str:
    """Says a difference of two values of a metric.

    Example:
        >>> score_change(-0.0028, "accuracy"), score_change(0.00123, "mse")
        ('-0.28 points', '+0.001230')
    """
    if is_share(metric):
        return f"{100 * difference:+.2f} points"
    return ("+" if difference > 0 else "") + significant(difference, 4)


STAGES = {
    "original": "export and measure the original",
    "evidence": "observe every layer on the data",
    "routes": "price the ways to the budget",
    "plan": "compress and export",
    "recover": "learn from the original",
    "measure": "measure beside the original",
    "result": "write the artifact and the report",
}


def stage(name: str) -> str:
    """Says the name of a stage's folder.

    Example:
        >>> stage("evidence"), stage("w8a8/recover"), stage("distill")
        ('observe every layer on the data', 'w8a8: learn from the original', 'distill')
    """
    attempt, slash, last = name.rpartition("/")
    return f"{attempt}{': ' if slash else ''}{STAGES.get(last, last)}"


def shortened(name: str, length: int) -> str:
    """Cuts the middle out of a long name: both ends of a layer's path tell it apart.

    Example:
        >>> shortened("encoder.layers.11.attention.output", 16)
        'encoder.….output'
    """
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"
