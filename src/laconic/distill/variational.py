"""Variational information (VID): the student's features are to tell as much of the teacher's as they can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from laconic.core.errors import invalid
from laconic.distill.feature import LearnedLoss, at_same_size, same_shape
from laconic.distill.pair import Pair

SMALLEST = 1e-5
"""Smallest variance, which keeps the loss bounded from below."""


@final
@dataclass(frozen=True, kw_only=True)
class Variational(LearnedLoss):
    """Negative log-likelihood of the teacher's features: `mean(log(v_c) + (teacher - student)^2 / v_c) / 2`.

    The variance `v_c = softplus(a_c) + 1e-5` of each channel is learned along: channels that the student cannot tell
    count less. `Match(projection=...)` is the mean of the paper, here of one layer. Images of different sizes are
    averaged down to the smaller one. The loss may be negative.

    Args:
        variance: of every channel at the start, above 1e-5.
        channel_axis: dimension of the channels, 1 for images and vectors, -1 for `[samples, positions, channels]`.

    Guarantees:
        For given variances the gradient of equal features is 0.
        The loss is least where each variance is the mean squared error of its channel.

    Reference:
        Ahn, Hu, Damianou, Lawrence, Dai, 2019, arXiv:1904.05835.

    Example:
        >>> pair = Pair(student=torch.zeros(1, 1), teacher=torch.full((1, 1), 2.0))
        >>> round(Variational(variance=1.0).module(pair)(pair).item(), 4)
        2.0
    """

    variance: float = 5.0
    channel_axis: int = 1

    def __post_init__(self) -> None:
        if not SMALLEST < self.variance < float("inf"):
            raise invalid("Variational.variance", self.variance, f"a number above {SMALLEST}")

    def module(self, pair: Pair) -> nn.Module:
        """Returns the likelihood with its variances.

        Raises:
            UsageError: the features have not the same shape.
        """
        return _Likelihood(pair.teacher.shape[self.channel_axis], self.variance, self.channel_axis)


class _Likelihood(nn.Module):
    def __init__(self, channels: int, variance: float, channel_axis: int) -> None:
        super().__init__()
        start = torch.tensor(variance - SMALLEST).expm1().log()
        # Beyond about 88 the exponential overflows, and softplus is the identity.
        start = start if start.isfinite() else torch.tensor(variance)
        self.raw = nn.Parameter(start.repeat(channels))
        self.channel_axis = channel_axis

    def forward(self, pair: Pair) -> Tensor:
        student, teacher = at_same_size(pair.student, pair.teacher)
        sized = Pair(student=student, teacher=teacher, mask=pair.mask)
        same_shape(sized, "Variational")
        errors = (teacher - student).square().movedim(self.channel_axis, -1)
        variance = softplus(self.raw) + SMALLEST
        nats = (variance.log() + errors / variance) / 2
        return sized.mean(nats.movedim(-1, self.channel_axis))
