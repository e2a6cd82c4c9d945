"""How replaceable an index is by its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.graph.axes import Axis, AxisSlice
from laconic.prune.importance.removal import Importance, Known, Removal, relative
from laconic.prune.importance.slices import owners, weights_of


@final
@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Importance):
    """The sum of an index' distances to all others, relative to the axis' mean: near the middle of them goes first.

    Reference:
        He, Liu, Wang, Hu and Yang 2018, arXiv:1811.00250 (FPGM), equation 6.
    """

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Nearest to all others first."""
        rows = torch.cat([_rows(axis, part, known.tensors[part.tensor]) for part in weights_of(axis, known.tensors)], 1)
        return Removal.by(relative(torch.cdist(rows, rows).sum(1)))


def _rows(axis: Axis, part: AxisSlice, tensor: Tensor) -> Tensor:
    """Returns everything that belongs to each index as one row, `[size, length]`."""
    flat = tensor.detach().cpu().double().movedim(part.dim, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]
    owner = owners(part.expr, axis.atom)
    inside = (owner >= 0).nonzero().flatten()
    return flat[inside[owner[inside].argsort(stable=True)]].reshape(axis.size, -1)
