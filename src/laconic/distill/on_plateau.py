"""A knob that is turned when a score no longer gets better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from laconic.core.errors import check_whole, invalid


@final
@dataclass(frozen=True, kw_only=True)
class OnPlateau:
    """Multiplies by a factor each time the score has not become better for a while: `factor^(times)`.

    Args:
        factor: positive; below 1 teaches less when teaching no longer helps, above 1 more.
        patience: scores in a row that are no better than the best, from 1; then it starts to count anew.
        margin: by how much a score must be better.
        least: the product never falls below this.
        most: nor rises above this.

    Example:
        >>> OnPlateau(factor=0.5, patience=2)([0.7, 0.8, 0.8, 0.79, 0.8], higher_is_better=True)
        0.5
    """

    factor: float = 0.5
    patience: int = 2
    margin: float = 0.0
    least: float = 0.01
    most: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise invalid("OnPlateau.factor", self.factor, "a positive number", "For half the weight write 0.5.")
        check_whole("OnPlateau.patience", self.patience, 1)
        if not 0 <= self.least <= 1 <= self.most:
            raise invalid("OnPlateau.least, most", (self.least, self.most), "a range around 1")

    def __call__(self, scores: Sequence[float], *, higher_is_better: bool) -> float:
        """Returns the factor."""
        sign = 1 if higher_is_better else -1
        best, waited, times = sign * scores[0], 0, 0
        for score in scores[1:]:
            better = sign * score > best + self.margin
            best, waited = (sign * score, 0) if better else (best, waited + 1)
            if waited == self.patience:
                waited, times = 0, times + 1
        return min(self.most, max(self.least, self.factor**times))
