"""Gram matrices: which channels are active together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, maps, misfit, positions
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class Gram(FeatureLoss):
    """Squared error of Gram matrices: `mean((G(student) - G(teacher))^2)`.

    `G(F) = F F^T / positions` is `[channels, channels]` for each sample: the flow between a layer and itself, in the
    words of FSP. Positions may differ in number, channels may not: `Match(projection="conv")` joins them.

    Args:
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        The order of positions changes nothing.

    Reference:
        Yim, Joo, Bae, Kim, 2017, CVPR (FSP); Gatys, Ecker, Bethge, 2015, arXiv:1508.06576.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[3.0, -3.0]]])
        >>> Gram().distance(Pair(student=student, teacher=teacher))
        tensor(64.)
    """

    channel_axis: int = 1

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error of the matrices.

        Raises:
            UsageError: the features have no positions, or not the same number of channels.
        """
        student, teacher = (self._matrix(x, positions(pair, x, self.channel_axis)) for x in pair.kept())
        if student.shape != teacher.shape:
            raise misfit(pair, "Gram", "as many channels", "Write Match(projection='conv'), or 'linear' for tokens.")
        return (student - teacher).square().mean()

    def _matrix(self, features: Tensor, count: Tensor | int) -> Tensor:
        flat = maps(features, self.channel_axis, "Gram")
        return flat @ flat.mT / count
