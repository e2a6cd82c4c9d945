"""What can be varied: named dimensions, each with its domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from laconic.core.errors import invalid


@final
@dataclass(frozen=True)
class Number:
    """A number between two others, such as a temperature.

    Args:
        low: finite.
        high: at least `low`.
        log: values are looked for by their logarithm; `low` must be positive then.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise invalid("Number.low, high", (self.low, self.high), "two finite numbers in order")
        if self.log and self.low <= 0:
            raise invalid("Number.low", self.low, "a positive number where log=True")

    @property
    def distribution(self) -> BaseDistribution:
        """What a sampler draws from."""
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, drawn: Any) -> float:
        """Returns what was drawn, as the objective sees it."""
        return float(drawn)

    def at(self, share: float) -> float:
        """Returns what a sampler would draw at a share in [0, 1] of the domain."""
        if self.log:
            return min(self.high, self.low * math.exp(share * math.log(self.high / self.low)))
        return min(self.high, self.low + share * (self.high - self.low))

    def share(self, drawn: Any) -> float:
        """Undoes `at`."""
        if self.high == self.low:
            return 0.0
        if self.log:
            return math.log(drawn / self.low) / math.log(self.high / self.low)
        return (float(drawn) - self.low) / (self.high - self.low)


@final
@dataclass(frozen=True)
class Whole:
    """A whole number, such as a width.

    Args:
        low: the smallest.
        high: the largest, at least `low`.
        step: between neighbours; `high - low` is a multiple of it.
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1 or self.high < self.low or (self.high - self.low) % self.step:
            expected = "low <= high, a positive step, and a whole number of steps between them"
            raise invalid("Whole.low, high, step", (self.low, self.high, self.step), expected)

    @property
    def distribution(self) -> BaseDistribution:
        """What a sampler draws from."""
        return IntDistribution(self.low, self.high, step=self.step)

    def value(self, drawn: Any) -> int:
        """Returns what was drawn, as the objective sees it."""
        return int(drawn)

    def at(self, share: float) -> int:
        """Returns what a sampler would draw at a share in [0, 1] of the domain."""
        return self.low + self.step * round(share * ((self.high - self.low) // self.step))

    def share(self, drawn: Any) -> float:
        """Undoes `at`."""
        return 0.0 if self.high == self.low else (int(drawn) - self.low) / (self.high - self.low)


@final
@dataclass(frozen=True)
class OneOf:
    """One of several things without order between them, such as an order of steps.

    Args:
        options: at least one; of any type, told apart by their place.
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise invalid("OneOf.options", self.options, "at least one")

    @property
    def distribution(self) -> BaseDistribution:
        """What a sampler draws from: places."""
        return CategoricalDistribution(tuple(range(len(self.options))))

    def value(self, drawn: Any) -> Any:
        """Returns the option at a place."""
        return self.options[drawn]

    def at(self, share: float) -> int:
        """Returns what a sampler would draw at a share in [0, 1] of the domain."""
        return min(len(self.options) - 1, int(share * len(self.options)))

    def share(self, drawn: Any) -> float:
        """Undoes `at`: the middle of the shares of an option."""
        return (int(drawn) + 0.5) / len(self.options)


Dimension = Number | Whole | OneOf
Space = Mapping[str, Dimension]


def described(space: Space) -> list[Sequence[str]]:
    """Returns a space as JSON values, to tell whether two are the same.

    Example:
        >>> described({"width": Whole(8, 64, 8)}) == described({"width": Whole(8, 32, 8)})
        False
    """
    return [
        (name, distribution_to_json(dimension.distribution), repr(getattr(dimension, "options", "")))
        for name, dimension in sorted(space.items())
    ]
