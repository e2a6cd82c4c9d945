"""How the learning rate moves. Any callable `(step, total) -> factor` will do; these three name the usual."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from laconic.core.errors import invalid

Schedule = Callable[[int, int], float]
"""`(step, total) -> factor` on every learning rate, for `step` in 0, 1, ..., `total` - 1.

Without state: the step is all that a checkpoint has to remember."""


@final
@dataclass(frozen=True, kw_only=True)
class Constant:
    """Full speed after the warm-up.

    Args:
        warmup: share of all steps in which the factor rises in a straight line to 1, in [0, 1).
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        _check("Constant", self.warmup, 0.0)

    def __call__(self, step: int, total: int) -> float:
        """Returns the factor of a step."""
        return _warm(step, total, self.warmup) or 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Linear:
    """A straight line from 1 down to `final`.

    Args:
        warmup: share of all steps in which the factor rises in a straight line to 1, in [0, 1).
        final: the factor that the last step comes close to, in [0, 1].

    Example:
        >>> [Linear(warmup=0.5)(step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check("Linear", self.warmup, self.final)

    def __call__(self, step: int, total: int) -> float:
        """Returns the factor of a step."""
        progress = _progress(step, total, self.warmup)
        return _warm(step, total, self.warmup) or 1 - (1 - self.final) * progress


@final
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from 1 down to `final`.

    Args:
        warmup: share of all steps in which the factor rises in a straight line to 1, in [0, 1).
        final: the factor that the last step comes close to, in [0, 1].

    Reference:
        Loshchilov, Hutter, 2017, arXiv:1608.03983, equation 5, without restarts.
    """

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check("Cosine", self.warmup, self.final)

    def __call__(self, step: int, total: int) -> float:
        """Returns the factor of a step."""
        falling = (1 + math.cos(math.pi * _progress(step, total, self.warmup))) / 2
        return _warm(step, total, self.warmup) or self.final + (1 - self.final) * falling


def _warm(step: int, total: int, warmup: float) -> float | None:
    rising = warmup * total
    return (step + 1) / rising if step + 1 < rising else None


def _progress(step: int, total: int, warmup: float) -> float:
    rising = warmup * total
    return max(0.0, step - rising) / max(1.0, total - rising)


def _check(where: str, warmup: float, final: float) -> None:
    if not 0 <= warmup < 1:
        raise invalid(f"{where}.warmup", warmup, "a share of the steps in [0, 1)", "For 5 % write 0.05.")
    if not 0 <= final <= 1:
        raise invalid(f"{where}.final", final, "a factor in [0, 1]")
