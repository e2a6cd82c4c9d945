"""Hints: the student's features are to be the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, at_same_size, same_shape
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class SameFeatures(FeatureLoss):
    """Squared error of features: `mean((student - teacher)^2)` over everything that counts.

    Features of another width are joined by `Match(projection=...)`; images of another size are averaged down to the
    smaller one; positions that the mask leaves out do not count.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        Positions that the mask leaves out get no gradient.

    Reference:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, 2015, arXiv:1412.6550 (FitNets), equation 3, there half the sum.

    Example:
        >>> import torch
        >>> SameFeatures().distance(Pair(student=torch.tensor([[1.0, 2.0]]), teacher=torch.tensor([[1.0, 4.0]])))
        tensor(2.)
    """

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error."""
        student, teacher = at_same_size(pair.student, pair.teacher)
        sized = Pair(student=student, teacher=teacher, mask=pair.mask)
        same_shape(sized, "SameFeatures")
        return sized.mean((student - teacher).square())
