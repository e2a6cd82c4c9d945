import io
import re

import pytest
from rich.console import Console

from laconic.report import Report, rows, summary

from . import samples


def printed(report: Report, width: int, *, colour: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None).print(
        summary(report)
    )
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", samples.ALL)
def test_every_line_fits_the_terminal(name: str, width: int) -> None:
    assert max(map(len, printed(samples.ALL[name](), width).splitlines())) <= width


def test_every_figure_is_there_in_words_without_colour() -> None:
    report = samples.digits()
    text = printed(report, 120)
    assert "\x1b" not in text
    for row in rows(report.original, report.compressed):
        for cell in (row.original, row.compressed, row.ratio):
            assert cell.value in text


def test_colour_only_repeats_what_the_words_say() -> None:
    report = samples.missed()
    coloured = printed(report, 120, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == printed(report, 120)
    assert "1.39x SLOWER" in printed(report, 120)


def test_misses_and_warnings_are_listed() -> None:
    text = printed(samples.missed(), 120)
    assert "NOT met" in text
    assert "- drop: 1.67 points lost, at most 0.6 points allowed" in text
    assert "- Warning: The two layers" in text


def test_markup_in_a_text_is_printed_as_it_is() -> None:
    assert "[red]markup[/red]" in printed(samples.hostile(), 120)


def test_a_report_that_is_printed_is_what_the_shell_prints() -> None:
    report = samples.digits()
    assert str(report).splitlines() == [line.rstrip() for line in printed(report, 100).rstrip().splitlines()]
    assert "\x1b" not in str(report)
