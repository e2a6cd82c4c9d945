"""Activation boundaries (AB): which neurons of the teacher are on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.feature import FeatureLoss, at_same_size, same_shape
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class ActivationBoundaries(FeatureLoss):
    """Squared hinge on the sign: `mean relu(m - S)^2` where the teacher's neuron is on, `mean relu(m + S)^2` elsewhere.

    On is `T > 0`: match layers before their ReLU. How strongly a neuron answers makes no difference. The paper begins a
    training with it alone: `schedule=Ramp(start=1, end=0, until=0.2)`.

    Args:
        margin: m, by how much the student is to be on its side, positive.

    Guarantees:
        A student that is on the teacher's side everywhere, by the margin, has no loss and no gradient.

    Reference:
        Heo, Lee, Yun, Choi, 2019, arXiv:1811.03233, equation 4.

    Example:
        >>> import torch
        >>> pair = Pair(student=torch.tensor([[2.0, 0.5, 0.0]]), teacher=torch.tensor([[3.0, -1.0, 1.0]]))
        >>> round(ActivationBoundaries().distance(pair).item(), 4)  # (0 + 1.5^2 + 1) / 3
        1.0833
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.margin < float("inf"):
            raise invalid("ActivationBoundaries.margin", self.margin, "a positive number")

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean.

        Raises:
            UsageError: the features have not the same shape.
        """
        student, teacher = at_same_size(pair.student, pair.teacher)
        sized = Pair(student=student, teacher=teacher, mask=pair.mask)
        same_shape(sized, "ActivationBoundaries")
        side = 2 * (teacher > 0).to(student.dtype) - 1
        return sized.mean((self.margin - side * student).relu().square())
