"""What the plots of a report have in common: how they look, and what is said beside them."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io

# Mid-tones that stand out on white and on near-black alike; ink, grid and ground come from the page's style sheet.
ORIGINAL, RESULT, TAKEN_BACK, LIMIT = "#75818f", "#0d9488", "#b45309", "#dc2626"
ALLOWED = "rgba(13, 148, 136, 0.10)"
CONFIG = {"displayModeBar": False, "responsive": True}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot, or the reason why there is none.

    Args:
        name: of its element in the page.
        title: above it.
        caption: below it, for every reader.
        alt: what it shows in words, for those who cannot see it.
        figure: None where there is nothing to draw; the caption then says why.
        legend: (name, colour) of what is drawn, where the points do not name themselves.
        height_px: on the page.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: go.Figure | None
    legend: tuple[tuple[str, str], ...] = ()
    height_px: int = 360

    @property
    def element(self) -> str:
        """The HTML that draws it, given plotly's library; safe to put into a page as it is."""
        found: str = plotly.io.to_html(
            self.figure,
            config=CONFIG,
            include_plotlyjs=False,
            full_html=False,
            div_id=self.name,
            default_height=f"{self.height_px}px",
        )
        return found


def literal(text: str) -> str:
    """Escapes a text for plotly, which reads its own markup in labels."""
    return html.escape(text, quote=False)


def layout(**changes: Any) -> go.Layout:
    """Returns the look that all plots share: no ground of its own, no zooming that would trap a finger's scroll."""
    shared = go.Layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        margin={"l": 8, "r": 12, "t": 28, "b": 8},
        hoverlabel={"align": "left", "font": {"size": 13}},
        showlegend=False,
        dragmode=False,
    )
    return shared.update(changes)


def axis(title: str | None, **changes: Any) -> dict[str, Any]:
    """Returns an axis with a quiet grid that keeps its labels inside the page."""
    shared = {
        "title": {"text": title, "standoff": 8, "font": {"size": 13}},
        "automargin": True,
        "fixedrange": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 6,
        "tickcolor": "rgba(0,0,0,0)",
    }
    return {**shared, **changes}
