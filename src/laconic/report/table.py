"""The comparison of the original with the compressed model, row by row, the same for every renderer."""

from __future__ import annotations

from laconic.measure import Figures
from laconic.report import cost_rows, quality_rows
from laconic.report.row import Row


def rows(original: Figures, compressed: Figures) -> tuple[Row, ...]:
    """Returns the comparison; a figure that was not measured says why.

    Guarantees:
        No cell is empty.

    Example:
        >>> original, compressed = Figures(name="original", size_bytes=400), Figures(name="int8", size_bytes=100)
        >>> size = rows(original, compressed)[0]
        >>> size.original.value, size.compressed.value, size.ratio.value, size.ratio.detail
        ('400 B', '100 B', '0.25x', '4.0x smaller')
    """
    return (
        *cost_rows.amounts(original, compressed),
        *cost_rows.latencies(original, compressed),
        cost_rows.memory(original, compressed),
        quality_rows.score(original, compressed),
        *quality_rows.divergence(compressed),
        quality_rows.agreement(original, compressed),
    )
