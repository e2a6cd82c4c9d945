"""The size of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from laconic.core.errors import invalid
from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Removal, relative
from laconic.prune.importance.slices import summed


@final
@dataclass(frozen=True, kw_only=True)
class Magnitude(Importance):
    """The sum of `|w|` (or the root of the sum of `w^2`) over all weights of an index, relative to the axis' mean.

    Args:
        norm: 1 or 2.

    Guarantees:
        The order does not change when all weights are multiplied by one number.

    Reference:
        Li, Kadav, Durdanovic, Samet and Graf 2016, arXiv:1608.08710.
    """

    norm: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.norm not in (1, 2):
            raise invalid("prune.Magnitude.norm", self.norm, "1 or 2")

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Smallest first."""
        if self.norm == 1:
            return Removal.by(relative(summed(axis, known.tensors, lambda w: w.abs())))
        return Removal.by(relative(summed(axis, known.tensors, lambda w: w.square()).sqrt()))
