"""How much flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from laconic.core.errors import UsageError
from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Need, Removal, relative


@final
@dataclass(frozen=True, kw_only=True)
class Activation(Importance):
    """The mean absolute activation of an index where layers read it, relative to the axis' mean.

    An axis that no linear layer or convolution reads cannot be ranked by it and stays whole.

    Reference:
        Molchanov, Tyree, Karras, Aila and Kautz 2016, arXiv:1611.06440.
    """

    needs: ClassVar[Need | None] = "activity"

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Weakest first."""
        if known.activity is None:
            raise UsageError("prune.Activation: needs activations on a Task's data. Pass a Task.")
        found = known.activity.get(axis.name)
        return Removal.by(torch.full((axis.size,), torch.inf) if found is None else relative(found.magnitude))
