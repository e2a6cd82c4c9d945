"""The report as one page that needs nothing but itself."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from laconic.report import wording
from laconic.report.attempt_table import attempt_rows
from laconic.report.headline import headline, verdict
from laconic.report.layer_sizes import by_layer
from laconic.report.record import Report
from laconic.report.step_table import STEP_TITLES, WAY_TITLES, step_rows, way_rows
from laconic.report.table import rows
from laconic.report.trade_off import against_latency, against_size

SHORT_LIST = 12  # longer lists are folded away until the reader asks for them


def to_html(report: Report) -> str:
    """Returns the page: about 5 MB, most of it the library that draws the plots.

    Guarantees:
        Loads nothing: the page's own policy forbids the browser any request.
        Every text of the report is escaped.
    """
    environment = Environment(
        loader=PackageLoader("laconic", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(byte_size=wording.byte_size, short_list=SHORT_LIST, stage_words=wording.stage)
    return environment.get_template("page.html.jinja").render(
        report=report,
        headline=headline(report),
        verdict=verdict(report),
        rows=rows(report.original, report.compressed),
        trade_offs=[against_size(report), against_latency(report)],
        by_layer=by_layer(report),
        attempts=attempt_rows(report),
        tables={
            "Step by step": (STEP_TITLES, list(step_rows(report))),
            "What was considered": (WAY_TITLES, list(way_rows(report.ways))),
        },
        plotly=get_plotlyjs(),
    )
