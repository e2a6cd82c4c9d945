"""Similarity preserving: samples that are alike for the teacher are to be alike for the student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class SimilarityPreserving(FeatureLoss):
    """Squared error of similarities: `mean((S(student) - S(teacher))^2)`.

    `S(F) = normalise_rows(F F^T)` is `[samples, samples]`, with rows of length 1. Features are flattened; layers of any
    shape can be matched. With few samples in a batch there is little to compare.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        Neither a rotation of the features nor a factor on all of them changes anything.

    Reference:
        Tung, Mori, 2019, arXiv:1907.09682, section 3.

    Example:
        >>> import torch
        >>> student, teacher = torch.eye(2), torch.tensor([[0.0, 3.0], [4.0, 0.0]])
        >>> SimilarityPreserving().distance(Pair(student=student, teacher=teacher))
        tensor(0.)
    """

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error of the similarities."""
        student, teacher = (unit(x @ x.T) for x in pair.rows())
        return (student - teacher).square().mean()
