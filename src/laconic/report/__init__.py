"""Says what compression did, with evidence: in a terminal, as a page, as Markdown and as JSON."""

from laconic.report.headline import headline, verdict
from laconic.report.html import to_html
from laconic.report.markdown import to_markdown
from laconic.report.record import Attempt, LayerRow, Report, StepRow, Way
from laconic.report.row import Cell, Row
from laconic.report.table import rows
from laconic.report.terminal import comparison, summary
from laconic.report.write import write_report

__all__ = [
    "Attempt",
    "Cell",
    "LayerRow",
    "Report",
    "Row",
    "StepRow",
    "Way",
    "comparison",
    "headline",
    "rows",
    "summary",
    "to_html",
    "to_markdown",
    "verdict",
    "write_report",
]
