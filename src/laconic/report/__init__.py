"""Says what compression did, with evidence: in a terminal, as a page, as Markdown and as JSON."""

from laconic.report.advice import Advice
from laconic.report.advice_page import ADVICE_FILES, advice_to_html, advice_to_markdown, write_advice
from laconic.report.headline import headline, verdict
from laconic.report.html import to_html
from laconic.report.markdown import to_markdown
from laconic.report.record import Attempt, LayerRow, Report, StepRow, Way
from laconic.report.row import Cell, Row
from laconic.report.table import rows
from laconic.report.terminal import advice, comparison, summary
from laconic.report.write import write_report

__all__ = [
    "ADVICE_FILES",
    "Advice",
    "Attempt",
    "Cell",
    "LayerRow",
    "Report",
    "Row",
    "StepRow",
    "Way",
    "advice",
    "advice_to_html",
    "advice_to_markdown",
    "comparison",
    "headline",
    "rows",
    "summary",
    "to_html",
    "to_markdown",
    "verdict",
    "write_advice",
    "write_report",
]
