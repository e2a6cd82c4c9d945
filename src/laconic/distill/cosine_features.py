"""Cosine: the student's features are to point where the teacher's do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, misfit, same_shape, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class CosineFeatures(FeatureLoss):
    """Cosine distance: `mean(1 - cos(student, teacher))`.

    Over the last dimension of `[samples, features]` or `[samples, positions, features]`. Patient distillation (PKD) is
    twice this at the first position: `|s/|s| - t/|t||^2 = 2 (1 - cos(s, t))`. Positions that the mask leaves out do not
    count; features of another width are joined by `Match(projection="linear")`.

    Args:
        position: the one position that is compared, 0 for a token such as [CLS] that stands for the whole; None: all.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        A positive factor on the features of a position changes nothing.

    Reference:
        Sanh, Debut, Chaumond, Wolf, 2019, arXiv:1910.01108 (DistilBERT); Sun, Cheng, Gan, Liu, 2019,
        arXiv:1908.09355 (PKD).

    Example:
        >>> import torch
        >>> CosineFeatures().distance(Pair(student=torch.tensor([[1.0, 0.0]]), teacher=torch.tensor([[0.0, 3.0]])))
        tensor(1.)
    """

    position: int | None = None

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean of one minus the cosine.

        Raises:
            UsageError: the shapes differ, or are not these.
        """
        same_shape(pair, "CosineFeatures")
        if pair.student.dim() not in (2, 3):
            raise misfit(pair, "CosineFeatures", "[samples, features] or [samples, positions, features]", "")
        cosines = (unit(pair.student) * unit(pair.teacher)).sum(-1)
        if self.position is None or cosines.dim() == 1:
            return pair.mean(1 - cosines)
        return (1 - cosines[:, self.position]).mean()
