"""Relational distance (RKD-D): samples are to lie as far from each other as they do for the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from laconic.distill.feature import FeatureLoss
from laconic.distill.pair import Pair
from laconic.distill.relations import distances, mean_of_pairs


@final
@dataclass(frozen=True, kw_only=True)
class RelationalDistance(FeatureLoss):
    """Huber loss of distances between samples: `mean_(i != j) huber(d_ij(student) - d_ij(teacher))`.

    `d_ij(F) = |F_i - F_j| / mean_(k != l) |F_k - F_l|`; Huber's loss is `x^2 / 2` up to 1, then `|x| - 1/2`. Features
    are flattened; layers of any shape can be matched. A batch of one has no distances: 0.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        Neither a rotation, nor a shift, nor a factor on all features changes anything.

    Reference:
        Park, Kim, Lu, Cho, 2019, arXiv:1904.05068, section 3.2.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [10.0], [20.0]])
        >>> RelationalDistance().distance(Pair(student=student, teacher=teacher))
        tensor(0.)
    """

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean over all pairs of samples."""
        student, teacher = (_relative(x) for x in pair.rows())
        return mean_of_pairs(smooth_l1_loss(student, teacher, reduction="none"))


def _relative(rows: Tensor) -> Tensor:
    apart = distances(rows)
    return apart / mean_of_pairs(apart).clamp(min=1e-6)
