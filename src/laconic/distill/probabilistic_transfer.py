"""Probabilistic knowledge transfer (PKT): which samples are neighbours, as probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, unit
from laconic.distill.pair import Pair
from laconic.distill.relations import others


@final
@dataclass(frozen=True, kw_only=True)
class ProbabilisticTransfer(FeatureLoss):
    """Divergence of neighbourhoods: `mean_i KL(p_i(teacher) || p_i(student))` in nats.

    `p_ij(F) = k_ij / sum_(l != i) k_il` with `k_ij = (cos(F_i, F_j) + 1) / 2`, for `j != i`. Features are flattened;
    layers of any shape can be matched. A batch of two has one neighbour only: 0.

    Guarantees:
        The distance of equal features is 0, and so is its gradient; it is never negative.
        Neither a rotation of the features nor a positive factor on those of a sample changes anything.

    Reference:
        Passalis, Tefas, 2018, arXiv:1803.10837, with the cosine kernel.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0], [1.0], [1.0]]), torch.tensor([[2.0], [3.0], [4.0]])
        >>> ProbabilisticTransfer().distance(Pair(student=student, teacher=teacher))
        tensor(0.)
    """

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean divergence."""
        student, teacher = (_neighbours(x) for x in pair.rows())
        return (teacher * (teacher.log() - student.log())).where(others(len(student), student.device), 0).sum(-1).mean()


def _neighbours(rows: Tensor) -> Tensor:
    """Returns probabilities off the diagonal of `[samples, samples]`, and ones on it."""
    units = unit(rows)
    different = others(len(rows), rows.device)
    # Opposite directions would have probability 0, and the divergence no bound.
    kernel = ((units @ units.T + 1) / 2).clamp(min=1e-6).where(different, 0)
    return (kernel / kernel.sum(-1, keepdim=True).clamp(min=1e-6)).where(different, 1)
