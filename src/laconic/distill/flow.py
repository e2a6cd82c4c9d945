"""Flow between two layers: how the teacher gets from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from laconic.distill.feature import FeatureLoss, maps, misfit, positions
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class Flow(FeatureLoss):
    """Squared error of flow matrices: `mean((F(student) - F(teacher))^2)`.

    `F = first second^T / positions`, `[channels of the first layer, channels of the second]` for each sample, says
    which channels of two layers are active together. `Match(teacher=("low", "high"), student=("low", "high"),
    loss=Flow())` names both; of a match with one layer only, it is the flow to itself, which is `Gram`. Images of
    different sizes are pooled down to the smaller by their maximum, as the paper does it. Student and teacher may
    differ in positions; their channels are joined by `Match(projection="conv")`, or `"linear"` for tokens.

    Args:
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        The order of positions changes nothing.

    Reference:
        Yim, Joo, Bae, Kim, 2017, CVPR, equations 1 and 2 (FSP).

    Example:
        >>> import torch
        >>> second = Pair(student=torch.tensor([[[2.0, 0.0]]]), teacher=torch.tensor([[[1.0, 1.0]]]))
        >>> first = Pair(student=torch.tensor([[[3.0, 3.0]]]), teacher=torch.tensor([[[1.0, 1.0]]]), following=second)
        >>> Flow().distance(first)
        tensor(4.)
    """

    channel_axis: int = 1
    layers: ClassVar[str] = "one layer of each, or two layers of each"

    def takes(self, teachers: int, students: int) -> bool:
        """Returns whether there are one or two of each."""
        return teachers == students <= 2

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error of the matrices.

        Raises:
            UsageError: the features have no positions, or not the same number of channels or of positions.
        """
        first, second = pair.kept(), (pair.following or pair).kept()
        student, teacher = (self._matrix(one, other, pair) for one, other in zip(first, second, strict=True))
        if student.shape != teacher.shape:
            raise misfit(pair, "Flow", "as many channels", "Write Match(projection='conv'), or 'linear' for tokens.")
        return (student - teacher).square().mean()

    def _matrix(self, first: Tensor, second: Tensor, pair: Pair) -> Tensor:
        if first.dim() == second.dim() == 4 and self.channel_axis == 1 and first.shape[2:] != second.shape[2:]:
            size = [min(sides) for sides in zip(first.shape[2:], second.shape[2:], strict=True)]
            first, second = adaptive_max_pool2d(first, size), adaptive_max_pool2d(second, size)
        one, other = maps(first, self.channel_axis, "Flow"), maps(second, self.channel_axis, "Flow")
        if one.shape[2] != other.shape[2]:
            raise misfit(pair, "Flow", "as many positions in both layers of a model", "Choose layers of one stage.")
        return one @ other.mT / positions(pair, first, self.channel_axis)
