"""A row of the comparison: text that every renderer prints alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from laconic.measure import Figures

Verdict = Literal["better", "worse", "same", "none"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure and, under it, its exact value, spread or reason."""

    value: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of both models.

    Args:
        figure: its name.
        meaning: what it is, for a reader who does not know compression.
        original: of the original.
        compressed: of the compressed model.
        ratio: compressed / original, or the difference, and what that means.
        verdict: whether the compressed model is better; `"none"` where better has no meaning.
    """

    figure: str
    meaning: str
    original: Cell
    compressed: Cell
    ratio: Cell
    verdict: Verdict


UNKNOWN = Cell(value="unknown")


def missing(figures: Figures, field: str) -> Cell:
    """Returns the cell of a figure that was not measured, with the reason where one is given."""
    why = figures.why(field)
    return Cell(value="not measured", detail="" if why == "not measured" else why)
