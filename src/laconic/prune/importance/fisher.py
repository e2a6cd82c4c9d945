"""The diagonal of the Fisher information: what is lost without compensation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from laconic.core.errors import UsageError
from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Need, Removal
from laconic.prune.importance.slices import per_index


@final
@dataclass(frozen=True, kw_only=True)
class Fisher(Importance):
    """The nats of zeroing an index' weights one by one, `1/2 sum G_oo A_ii w_oi^2`, from the diagonals of `G` and `A`.

    Reference:
        LeCun, Denker and Solla 1989, optimal brain damage; the Fisher diagonal as in Theis, Korshunova, Tejani and
        Huszar 2018, arXiv:1801.05787, here with the Kronecker-factored diagonal.
    """

    needs: ClassVar[Need | None] = "evidence"

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Cheapest first."""
        if known.evidence is None:
            raise UsageError("prune.Fisher: needs evidence. Pass a Task, or evidence=calibrate(model, task).")
        total = torch.zeros(axis.size, dtype=torch.float64)
        found = False
        for use in known.evidence.uses:
            A, G = (m if m.dim() == 2 else m.diagonal(dim1=-2, dim2=-1) for m in (use.A, use.G))
            for part in [part for part in axis.slices if part.tensor == use.layer.parameter]:
                matrix = use.layer.matrix(known.tensors[part.tensor].detach().cpu().double())
                nats = 0.5 * G[:, :, None] * A[:, None, :] * matrix.square()
                total += per_index(axis, use.layer.weight(nats), part)
                found = True
        return Removal.by(total if found else torch.full((axis.size,), torch.inf))
