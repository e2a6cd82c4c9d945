"""How often nothing flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from laconic.core.errors import UsageError
from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Need, Removal


@final
@dataclass(frozen=True, kw_only=True)
class Apoz(Importance):
    """One minus the average percentage of zeros (APoZ), as a fraction, of the activations of an index.

    It tells indices apart behind a ReLU; smooth activation functions are hardly ever zero, and all prices are then 1.
    An axis that no linear layer or convolution reads stays whole.

    Reference:
        Hu, Peng, Tai and Tang 2016, arXiv:1607.03250, equation 1.
    """

    needs: ClassVar[Need | None] = "activity"

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Most often zero first."""
        if known.activity is None:
            raise UsageError("prune.Apoz: needs activations on a Task's data. Pass a Task.")
        found = known.activity.get(axis.name)
        return Removal.by(torch.full((axis.size,), torch.inf) if found is None else 1 - found.zeros)
