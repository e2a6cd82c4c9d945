"""The contract of a criterion: in which order the indices of an axis go, and at what price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from laconic.calibrate import Evidence
from laconic.graph.axes import Axis
from laconic.prune.importance.activity import Activity

Need = Literal["evidence", "slopes", "activity"]
"""A field of `Known` that has to be filled in from data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Removal:
    """How an axis shrinks.

    Args:
        order: all its indices, the first to go first, int64 `[size]`.
        price: what each costs once those before it are gone, float64 `[size]`, not negative; infinite for one that has
            to stay.
    """

    order: Tensor
    price: Tensor

    @classmethod
    def by(cls, scores: Tensor) -> Self:
        """Lowest score first, at its score as the price; equal scores go in order of their index."""
        scores = scores.detach().cpu().double()
        order = scores.argsort(stable=True)
        return cls(order=order, price=scores[order])


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What a criterion may look at.

    Args:
        tensors: canonical name -> parameter or buffer of the original.
        evidence: what passed through its layers; None where the criterion did not ask.
        slopes: axis name -> sums of `w dL/dw`, see `slopes`; likewise.
        activity: axis name -> what layers read of it, see `activity`; likewise.
    """

    tensors: Mapping[str, Tensor]
    evidence: Evidence | None = None
    slopes: Mapping[str, Tensor] | None = None
    activity: Mapping[str, Activity] | None = None


class Importance(ABC):
    """Ranks the indices of an axis. Immutable; concrete criteria are final.

    `needs` names what it reads besides the weights.
    """

    needs: ClassVar[Need | None] = None

    @abstractmethod
    def removal(self, axis: Axis, known: Known) -> Removal:
        """Returns the order in which an axis' indices go, and their prices.

        Prices are compared between axes, too, as price per saving.
        """


def relative(scores: Tensor) -> Tensor:
    """Returns scores divided by their mean, so that axes of different scale can be compared."""
    mean = scores.mean()
    return scores / mean if bool(mean > 0) else torch.zeros_like(scores)
