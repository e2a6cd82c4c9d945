"""Layer-adaptive magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Removal
from laconic.prune.importance.slices import summed


@final
@dataclass(frozen=True, kw_only=True)
class Lamp(Importance):
    """The sum of squares of an index, relative to that of all indices that are not smaller.

    The largest index of every axis has the price 1, so that no axis is emptied before another.

    Reference:
        Lee, Park, Mo, Ahn and Shin 2020, arXiv:2010.07611, equation 1, with slices in the place of weights.
    """

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Smallest first."""
        squares = summed(axis, known.tensors, lambda w: w.square())
        ordered, order = squares.sort(stable=True)
        rest = ordered.flip(0).cumsum(0).flip(0)
        return Removal(order=order, price=ordered / rest.clamp_min(rest.new_tensor(1e-300)))
