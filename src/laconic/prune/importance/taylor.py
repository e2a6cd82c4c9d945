"""What removal costs to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from laconic.core.errors import UsageError
from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Need, Removal


@final
@dataclass(frozen=True, kw_only=True)
class Taylor(Importance):
    """The squared first-order change of the loss when an index goes, `(sum w dL/dw)^2`, mean over batches.

    The sum runs over all weights of the index; `L` is the mean loss of a batch, on its labels where there are some.
    With a larger batch the noise of each square is smaller: orders of runs with different batches may differ.

    Reference:
        Molchanov, Mallya, Tyree, Frosio and Kautz 2019, arXiv:1906.10771 (first order, with all weights
        of an index under one gate).
    """

    needs: ClassVar[Need | None] = "slopes"

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Least change first."""
        if known.slopes is None:
            raise UsageError("prune.Taylor: needs gradients of a Task's loss. Pass a Task.")
        found = known.slopes.get(axis.name)
        if found is None or not bool(found.any()):
            return Removal.by(torch.full((axis.size,), torch.inf))
        return Removal.by(found.square().mean(0))
