"""Position affinity: which places of an image are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, at_same_size, maps, misfit, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class PositionAffinity(FeatureLoss):
    """Squared error of the cosines between positions: `mean_(i,j) (cos(S_i, S_j) - cos(T_i, T_j))^2`.

    For segmentation: pixels that the teacher sees as alike are to be alike. They may differ in channels;
    images of different sizes are averaged down to the smaller one. All pairs are compared: match small layers.

    Args:
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        A rotation of the channels, and a positive factor on any position, change nothing.

    Reference:
        Liu, Chen, Liu, Qin, Luo, Wang, 2019, arXiv:1903.04197, section 3.1 (pair-wise distillation).

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> PositionAffinity().distance(Pair(student=student, teacher=teacher))  # Two of four pairs: 1 against 0.
        tensor(0.5000)
    """

    channel_axis: int = 1

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error.

        Raises:
            UsageError: the features have no positions, or not as many.
        """
        student, teacher = at_same_size(*pair.kept())
        ours, theirs = (unit(maps(x, self.channel_axis, "PositionAffinity").mT) for x in (student, teacher))
        if ours.shape[1] != theirs.shape[1]:
            raise misfit(pair, "PositionAffinity", "as many positions", "Match layers of the same resolution.")
        errors = (ours @ ours.mT - theirs @ theirs.mT).square()
        if (counts := pair.counted(student)) is None:
            return errors.mean()
        return errors.sum() / counts.sum(1).square().sum().clamp(min=1)
