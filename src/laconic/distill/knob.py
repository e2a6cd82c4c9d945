"""A factor that is turned while a run is going on, by what it has scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final


@final
class Knob:
    """A factor on a weight or a temperature that somebody turns: `Weighted(schedule=knob)`, `Match(schedule=knob)`.

    As a multiplier on `SoftLabels(schedule=knob)` it turns the temperature. `laconic.train.adapting` turns knobs by
    rules from scores on validation data; a callback may set `value` as well, but then a resumed run does not know it.

    Example:
        >>> knob = Knob()
        >>> knob.value = 0.5
        >>> knob(progress=0.9)
        0.5
    """

    def __init__(self) -> None:
        self.value = 1.0

    def __call__(self, progress: float) -> float:
        """Returns the factor; where the run is makes no difference."""
        return self.value


class Rule(Protocol):
    """How a knob is to stand after some scores."""

    def __call__(self, scores: Sequence[float], *, higher_is_better: bool) -> float:
        """Returns the factor after all scores so far, at least one; the same scores give the same factor."""
