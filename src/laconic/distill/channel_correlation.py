"""Inter-channel correlation (ICKD): which channels are active in the same places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.feature import FeatureLoss, maps, misfit, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class ChannelCorrelation(FeatureLoss):
    """Squared error of how channels go with each other: `mean (C(student) - C(teacher))^2`.

    `C = F F^T` of each sample, `[channels, channels]`, every row of length 1: as `Gram`, but how strongly a channel
    answers makes no difference. Student and teacher may differ in positions; channels are joined by
    `Match(projection="conv")`, or `"linear"` for tokens.

    Args:
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        The order of positions, and a positive factor on a sample, change nothing.

    Reference:
        Liu, Huang, Lin, Xie, Wang, Chang, Liang, 2021, ICCV (ICKD-C), there the sum over entries.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        >>> round(ChannelCorrelation().distance(Pair(student=student, teacher=teacher)).item(), 4)
        0.2929
    """

    channel_axis: int = 1

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error.

        Raises:
            UsageError: the features have no positions, or not as many channels.
        """
        student, teacher = (self._correlation(x) for x in pair.kept())
        if student.shape != teacher.shape:
            raise misfit(pair, "ChannelCorrelation", "as many channels", "Write Match(projection='conv') or 'linear'.")
        return (student - teacher).square().mean()

    def _correlation(self, features: Tensor) -> Tensor:
        rows = maps(features, self.channel_axis, "ChannelCorrelation")
        return unit(rows @ rows.mT)
