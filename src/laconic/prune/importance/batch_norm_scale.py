"""The scale of the batch normalisation that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Removal
from laconic.prune.importance.slices import per_index


@final
@dataclass(frozen=True, kw_only=True)
class BatchNormScale(Importance):
    """The sum of `|gamma|` over the batch normalisations of an index.

    An axis without batch normalisation cannot be ranked by it and stays whole.

    Reference:
        Liu, Li, Shen, Huang, Yan and Zhang 2017, arXiv:1708.06519.
    """

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Smallest first."""
        normalised = {part.tensor.removesuffix("running_var") for part in axis.slices if "running_var" in part.tensor}
        scales = [part for part in axis.slices if part.tensor.removesuffix("weight") in normalised]
        if not scales:
            return Removal.by(torch.full((axis.size,), torch.inf))
        return Removal.by(torch.stack([per_index(axis, known.tensors[s.tensor].abs(), s) for s in scales]).sum(0))
