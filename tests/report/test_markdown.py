import re

import pytest

from laconic.report import rows, to_markdown
from laconic.report.markdown import literal

from . import samples


@pytest.mark.parametrize("name", samples.ALL)
def test_every_table_line_has_as_many_cells_as_its_heading(name: str) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", to_markdown(samples.ALL[name]()), flags=re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1


def test_it_says_the_same_figures_as_the_table() -> None:
    report = samples.digits()
    text = to_markdown(report)
    for row in rows(report.original, report.compressed):
        assert literal(row.compressed.value) in text
        assert literal(row.meaning) in text


def test_the_command_stands_as_it_is_in_a_block_of_its_own() -> None:
    report = samples.hostile()
    assert f"\n    {report.command}\n" in to_markdown(report)


def test_no_text_of_the_report_becomes_html_or_formatting() -> None:
    text = to_markdown(samples.hostile()).replace(f"    {samples.HOSTILE}\n", "")
    assert not re.search(r"(?<!\\)[<`]|(?<!\\)\[", text)


def test_a_missed_budget_lists_what_was_missed() -> None:
    assert "- drop: 1.67 points lost" in to_markdown(samples.missed())
    assert "best attempt" in to_markdown(samples.missed())
