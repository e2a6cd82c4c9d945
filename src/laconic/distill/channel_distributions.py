"""Channel distributions (CWD): where in an image each channel looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.answers import FAR_BELOW, divergence
from laconic.distill.domain import check_temperature
from laconic.distill.feature import FeatureLoss, at_same_size, maps, same_shape
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class ChannelDistributions(FeatureLoss):
    """Divergence of each channel's distribution over positions: `T^2 mean KL(p(teacher) || p(student))` in nats.

    `p = softmax(features / T)` over the positions of one channel; the mean is over samples and channels. It teaches
    where something is, not how strongly the whole image shows it, and is meant for segmentation and detection; the
    logits of a segmentation do as features. Channels are joined by `Match(projection="conv")`.

    Args:
        temperature: T, positive.
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient; it is never negative.
        A constant added to all positions of a channel changes nothing.

    Reference:
        Shu, Liu, Gao, Yan, Shen, 2021, arXiv:2011.13256, equations 1 and 2.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 1, 2), torch.tensor([[[2.0, 0.0]]])
        >>> round(ChannelDistributions(temperature=2).distance(Pair(student=student, teacher=teacher)).item(), 4)
        0.4438
    """

    temperature: float = 4.0
    channel_axis: int = 1

    def __post_init__(self) -> None:
        check_temperature("ChannelDistributions", self.temperature)

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean divergence.

        Raises:
            UsageError: the features have no positions, or not the same shape.
        """
        student, teacher = at_same_size(pair.student, pair.teacher)
        same_shape(Pair(student=student, teacher=teacher), "ChannelDistributions")
        rows = [maps(x, self.channel_axis, "ChannelDistributions") / self.temperature for x in (student, teacher)]
        if (counts := pair.counted(student)) is not None:
            rows = [x.masked_fill(~counts[:, None], FAR_BELOW) for x in rows]
        return divergence(*rows).mean() * self.temperature**2
