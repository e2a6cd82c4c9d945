"""A knob that follows how far the student still is from its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from laconic.core.errors import invalid


@final
@dataclass(frozen=True, kw_only=True)
class ByGap:
    """What is left of the distance to the teacher's score: `(teacher - last) / (teacher - first)`, held in a range.

    A student that comes close to its teacher is taught less and relies on labels more.

    Args:
        teacher: the teacher's score on the same data.
        least: never below this.
        most: nor above this, where the student has become worse.

    Example:
        >>> ByGap(teacher=0.9)([0.5, 0.8], higher_is_better=True)  # A quarter of the way is left.
        0.25
    """

    teacher: float
    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1 <= self.most:
            raise invalid("ByGap.least, most", (self.least, self.most), "a range around 1")

    def __call__(self, scores: Sequence[float], *, higher_is_better: bool) -> float:
        """Returns the factor; the least for a student that was better than its teacher from the start."""
        sign = 1 if higher_is_better else -1
        whole, left = sign * (self.teacher - scores[0]), sign * (self.teacher - scores[-1])
        share = left / whole if whole > 0 else 0.0
        return round(min(self.most, max(self.least, share)), 12)
