"""The report in a terminal or a pipe: the answer, the comparison, what was missed."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from laconic.report.advice import Advice
from laconic.report.headline import headline, verdict
from laconic.report.record import Report
from laconic.report.row import Cell, Row, Verdict
from laconic.report.step_table import WAY_TITLES, step_rows, way_rows
from laconic.report.table import rows

SHOWN = 8  # ways; a page shows them all
RANGES = "Ranges: the middle half of the repeats for latencies, 95 % confidence intervals elsewhere.\n"
COLOURS: dict[Verdict, str] = {"better": "green", "worse": "red", "same": "", "none": "dim"}


def summary(report: Report) -> RenderableType:
    """Returns the report in short, for `rich.console.Console.print`; readable without colour and at 80 columns."""
    met = "green" if report.met else "bold red"
    return Group(
        Text(headline(report), style="bold"),
        Text(f"{report.title}. Measured: {report.task}; {report.target}.", style="dim"),
        comparison(rows(report.original, report.compressed)),
        Text(RANGES, style="dim"),
        Text(verdict(report), style=met if report.limited else ""),
        *(
            _item(f"{done}: {size} of weights, {macs} multiply-adds, {nats}", "dim")
            for done, size, macs, nats in step_rows(report)
        ),
        *(_item(miss, "red") for miss in report.misses),
        *(_item(f"Warning: {warning}", "yellow") for warning in report.warnings),
    )


def advice(found: Advice) -> RenderableType:
    """Returns advice for `rich.console.Console.print`: what to do, what was turned down, what it takes."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, expand=False)
    for title in WAY_TITLES:
        table.add_column(title, overflow="fold")
    shown = sorted(found.ways, key=lambda way: (way.verdict != "recommended", way.nats is None))[:SHOWN]
    for row in way_rows(shown):
        style = "green" if row[-1] == "recommended" else "dim"
        table.add_row(*(Text(text, style) for text in row))
    more = len(found.ways) - len(shown)
    return Group(
        Text(f"{found.answer}.", style="bold" if found.feasible else "bold red"),
        Text(f"{found.model}, to run in {found.target}. Asked for: {found.budget}.\n", style="dim"),
        *(Padding(Text(f"{number}. {step}"), (0, 0, 0, 2)) for number, step in enumerate(found.steps, 1)),
        Text(""),
        table,
        *([Text(f"and {more} more: --out FOLDER writes all of them\n", style="dim")] if more else []),
        *(_item(words, "") for words in found.training),
        *(_item(f"Risk: {risk}", "yellow") for risk in found.risks),
        *(_item(f"{what}: {amount}", "dim") for what, amount in found.costs),
    )


def plain(found: RenderableType) -> str:
    """Returns what would be printed, without colours, 100 columns wide."""
    console = Console(width=100, file=StringIO(), color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(found)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def comparison(lines: Iterable[Row]) -> Table:
    """Returns the table original | compressed | ratio."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, expand=False)
    table.add_column("", min_width=16, max_width=21)
    for title in ("original", "compressed", "ratio"):
        table.add_column(title, min_width=15, overflow="fold")
    for row in lines:
        ratio = _text(row.ratio, COLOURS[row.verdict], COLOURS[row.verdict])
        table.add_row(Text(row.figure), _text(row.original), _text(row.compressed), ratio)
    return table


def _text(cell: Cell, style: str = "", detail_style: str = "dim") -> Text:
    text = Text(cell.value, style)
    return text.append(f"\n{cell.detail}", detail_style) if cell.detail else text


def _item(words: str, style: str) -> Padding:
    return Padding(Text(f"- {words}", style=style), (0, 0, 0, 2))
