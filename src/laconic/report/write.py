"""Writes a report in all its forms."""

from __future__ import annotations

from pathlib import Path

from laconic.core.files import write_json, write_text
from laconic.report.html import to_html
from laconic.report.markdown import to_markdown
from laconic.report.record import Report


def write_report(report: Report, folder: Path) -> Path:
    """Writes `report.json`, `report.md` and `report.html` into a folder, which is made if it is not there.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: a file cannot be written; the message names it.

    Guarantees:
        Each file is whole or absent; one that was there before is replaced as a whole.
    """
    page = folder / "report.html"
    write_json(folder / "report.json", report.to_json())
    write_text(folder / "report.md", to_markdown(report))
    write_text(page, to_html(report))
    return page
