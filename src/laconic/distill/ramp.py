"""How hard, over the run: factors on weights and temperatures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final, get_args

from laconic.core.errors import invalid

Factor = Callable[[float], float]
"""`progress -> factor`, for the share of the run that is done, in [0, 1). Any callable will do; `Ramp` is the usual."""
Shape = Literal["linear", "cosine", "cubic"]


@final
@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Goes from `start` to `end` while the run goes from `after` to `until`, and stays where it is outside.

    `start + (end - start) * s(u)` with `u` the share of the way, and `s(u) = u`, `(1 - cos(pi u)) / 2` or `u^3`.

    Args:
        start: first factor, 0 or more.
        end: last factor, 0 or more.
        shape: `"linear"`, `"cosine"` (slow at both ends) or `"cubic"` (slow at first).
        after: share of the run at which it sets out.
        until: share of the run at which it arrives.

    Guarantees:
        Every factor lies between `start` and `end`, and they never turn back.

    Example:
        >>> [Ramp(start=1, end=0, until=0.5)(progress) for progress in (0.0, 0.25, 0.75)]
        [1.0, 0.5, 0.0]
    """

    start: float = 0.0
    end: float = 1.0
    shape: Shape = "linear"
    after: float = 0.0
    until: float = 1.0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not 0 <= getattr(self, name) < math.inf:
                raise invalid(f"Ramp.{name}", getattr(self, name), "0 or a positive number")
        if self.shape not in get_args(Shape):
            raise invalid("Ramp.shape", self.shape, "'linear', 'cosine' or 'cubic'")
        if not 0 <= self.after < self.until <= 1:
            raise invalid("Ramp.after, until", (self.after, self.until), "two shares of the run, the first one smaller")

    def __call__(self, progress: float) -> float:
        """Returns the factor when `progress`, a share of the run, is done."""
        way = min(1.0, max(0.0, (progress - self.after) / (self.until - self.after)))
        risen = {"linear": way, "cosine": (1 - math.cos(math.pi * way)) / 2, "cubic": way**3}[self.shape]
        return self.start + (self.end - self.start) * risen
