"""The report as Markdown, for a pull request or a model card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from laconic.report import wording
from laconic.report.attempt_table import attempt_rows
from laconic.report.headline import headline, verdict
from laconic.report.record import Report
from laconic.report.row import Cell
from laconic.report.step_table import STEP_TITLES, WAY_TITLES, step_rows, way_rows
from laconic.report.table import rows

MARKS = re.compile(r"([\\`*_\[\]|<>#~&])")


def to_markdown(report: Report) -> str:
    """Returns the report in GitHub's Markdown; every text of the report shows as it is.

    Guarantees:
        Says the same figures as the page.
    """
    parts = (
        _opening(report),
        "## Before and after\n",
        _comparison(report),
        titled("Step by step", STEP_TITLES, step_rows(report)),
        _attempts(report),
        titled("What was considered", WAY_TITLES, way_rows(report.ways)),
        _layers(report),
        "## The plan\n",
        numbered(report.plan_words) or "Nothing was changed.\n",
        f"## How it was measured\n\n{paired(report.methods)}" if report.methods else "",
        "## Repeat it\n",
        _code(report.command),
        _facts(report),
    )
    return "\n".join(part for part in parts if part)


def literal(text: str) -> str:
    r"""Escapes a text so that Markdown shows it as it is, on one line.

    Example:
        >>> print(literal("a_b | <i>"))
        a\_b \| \<i\>
    """
    return MARKS.sub(r"\\\1", " ".join(text.split()))


def _opening(report: Report) -> str:
    about = f"{report.model}. Measured: {report.task}, as it runs in {report.target}."
    lines = [f"# {literal(headline(report))}\n", f"**{literal(report.title)}**. {literal(about)}\n"]
    lines.append(f"**{literal(verdict(report))}**\n")
    lines += [_listed(report.misses)] if report.misses else []
    lines += [_listed(f"Warning: {warning}" for warning in report.warnings)] if report.warnings else []
    return "\n".join(lines)


def _comparison(report: Report) -> str:
    found = rows(report.original, report.compressed)
    table = _table(
        ("Figure", "Original", "Compressed", "Ratio"),
        ((literal(row.figure), _cell(row.original), _cell(row.compressed), _cell(row.ratio)) for row in found),
    )
    meanings = {row.meaning: row.figure.partition(",")[0] for row in found}
    return table + "\n" + paired((figure, meaning) for meaning, figure in meanings.items())


def titled(title: str, titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a section with a table, or nothing without lines."""
    written = [[literal(text) for text in line] for line in lines]
    return f"## {title}\n\n{_table(titles, written)}" if written else ""


def _attempts(report: Report) -> str:
    if not report.attempts:
        return ""
    lines = (
        (
            f"{number}. **{literal(row.name)}**: {literal(row.plan)}",
            _cell(row.size),
            _cell(row.latency),
            _cell(row.score),
            f"{row.outcome} ({literal(row.why)})",
        )
        for number, row in enumerate(attempt_rows(report), 1)
    )
    return "## What was tried\n\n" + _table(("Attempt", "File size", "Latency", "Score", "Outcome"), lines)


def _layers(report: Report) -> str:
    if not report.layers:
        return ""
    lines = (
        (
            f"{literal(row.name)} ({literal(row.kind)})",
            f"{row.parameters:,}",
            wording.byte_size(row.bytes_before),
            wording.byte_size(row.bytes_after),
            literal(f"{row.done}; {row.why}" if row.why else row.done),
            literal(row.kernel or "not known"),
        )
        for row in report.layers
    )
    titles = ("Layer", "Parameters", "Before", "After", "What was done, and why", "Runs as")
    return "## Where the bytes went\n\n" + _table(titles, lines)


def _facts(report: Report) -> str:
    seconds = paired((wording.stage(stage), f"{seconds:,.1f} s") for stage, seconds in report.seconds)
    parts = (("Versions and machine", paired(report.facts)), ("Time of each stage", seconds))
    return "\n".join(f"### {title}\n\n{listed}" for title, listed in parts if listed)


def _cell(cell: Cell) -> str:
    return f"{literal(cell.value)} ({literal(cell.detail)})" if cell.detail else literal(cell.value)


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    ruled = (titles, ["---"] * len(titles), *lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def _listed(items: Iterable[str]) -> str:
    return "".join(f"- {literal(item)}\n" for item in items)


def numbered(items: Iterable[str]) -> str:
    """Returns a numbered list."""
    return "".join(f"{number}. {literal(item)}\n" for number, item in enumerate(items, 1))


def paired(items: Iterable[tuple[str, str]]) -> str:
    """Returns a list of names with what they stand for."""
    return "".join(f"- **{literal(name)}**: {literal(value)}\n" for name, value in items)


def _code(command: str) -> str:
    # Indented, not fenced: no fence is safe from what a command may hold.
    return "".join(f"    {line}\n" for line in command.splitlines())
