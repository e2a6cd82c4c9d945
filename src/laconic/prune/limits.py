"""What may not be cut: widths that a runtime does not like, fractions that have to stay, layers by name."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from laconic.core.errors import ModelError, check_fraction, check_whole, invalid
from laconic.core.target import Target
from laconic.graph.axes import Axes, Axis

COUNTED = frozenset({"heads", "experts"})
"""Kinds of axes whose indices are whole units: their number is no width."""


@final
@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Which sizes a cut may leave: multiples.

    Args:
        multiple: of what a cut axis' size is a multiple.
        narrow: the same for sizes below `multiple`; None: there are none.

    Example:
        >>> rounding = Rounding(multiple=16, narrow=4)
        >>> [rounding.below(size) for size in (65, 64, 32, 16, 12, 4)]
        [64, 48, 16, 12, 8, 0]
    """

    multiple: int = 1
    narrow: int | None = None

    def __post_init__(self) -> None:
        for name, number in (("multiple", self.multiple), ("narrow", self.narrow)):
            if number is not None:
                check_whole(f"Rounding.{name}", number, 1)

    def below(self, size: int) -> int:
        """Returns the next smaller size; 0: there is none."""
        step = self.narrow if self.narrow is not None and size <= self.multiple else self.multiple
        return (size - 1) // step * step


ANY = Rounding()
CPU = Rounding(multiple=16, narrow=4)
"""There a convolution's time grows in steps of 16 channels; below 16 it falls with every 4 (`benchmarks/widths.py`)."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """What each axis may come to.

    Args:
        rounding: sizes that are cut become multiples; heads and experts never do.
        least: no axis keeps a smaller fraction of its indices than this; 0 for those that are not named.
    """

    rounding: Rounding = ANY
    least: Mapping[Axis, float] | float = 0.0

    def below(self, axis: Axis, size: int) -> int:
        """Returns the next smaller size that rounding allows; 0: there is none."""
        return size - 1 if axis.kind in COUNTED else self.rounding.below(size)

    def least_of(self, axis: Axis) -> float:
        """Returns the fraction that an axis has to keep."""
        return self.least if isinstance(self.least, int | float) else self.least.get(axis, 0.0)


NO_LIMITS = Limits()
SHOWN = 3
"""Reasons, and places of each, that an error lists."""


def rounding_for(target: Target | None, round_to: int | None) -> Rounding:
    """Returns the user's own rounding, else the target's, else none."""
    if round_to is not None:
        check_whole("prune.round_to", round_to, 1)
        return Rounding(multiple=round_to)
    return ANY if target is None else CPU


def least_for(axes: Axes, least: float | Mapping[str, float]) -> dict[Axis, float]:
    """Returns the fraction that each axis has to keep: of several patterns that match it, the largest.

    Raises:
        UsageError: a fraction is outside `[0, 1)`, or a pattern matches no parameter.
    """
    given = least if isinstance(least, Mapping) else {"*": least}
    for pattern, fraction in given.items():
        check_fraction(f"prune.least[{pattern!r}]" if isinstance(least, Mapping) else "prune.least", fraction)
    _expect_matches(axes, [pattern for pattern in given if pattern != "*"], "prune.least")
    return {
        axis: max((fraction for pattern, fraction in given.items() if _matches(axes, axis, pattern)), default=0.0)
        for axis in axes
    }


def free_axes(axes: Axes, keep: str | Sequence[str]) -> list[Axis]:
    """Returns the axes that no pattern, of one or several, keeps.

    Raises:
        UsageError: a pattern matches no parameter.
        ModelError: nothing is left that can be cut.
    """
    keep = [keep] if isinstance(keep, str) else keep
    _expect_matches(axes, keep, "prune.keep")
    free = [axis for axis in axes if not any(_matches(axes, axis, pattern) for pattern in keep)]
    if not free:
        why = "all are kept by name" if len(axes) else _frozen(axes)
        raise ModelError(f"prune: {axes.graph.name} has nothing that can be cut: {why}.")
    return free


def _frozen(axes: Axes) -> str:
    """Returns in a few words why nothing can be cut."""
    if not any(parameter.is_floating_point() for parameter in axes.graph.parameters.values()):
        return "it has no parameters of floating point"
    reasons = [f"{', '.join(places[:SHOWN])} by {why}" for why, places in axes.frozen_by().items()]
    more = " and others" if len(reasons) > SHOWN else ""
    return f"all is frozen, {'; '.join(reasons[:SHOWN])}{more}. laconic.axes(model, inputs) shows the rest"


def _expect_matches(axes: Axes, patterns: Sequence[str], where: str) -> None:
    names = [name for aliases in axes.graph.aliases.values() for name in aliases]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            near = ", ".join(difflib.get_close_matches(pattern, names, n=3, cutoff=0.3))
            mend = f"Near ones: {near}." if near else f"Names are like {names[0]}." if names else ""
            raise invalid(where, pattern, "a pattern that matches a parameter", mend)


def _matches(axes: Axes, axis: Axis, pattern: str) -> bool:
    names = [name for part in axis.slices for name in axes.graph.aliases.get(part.tensor, (part.tensor,))]
    return bool(fnmatch.filter(names, pattern))
