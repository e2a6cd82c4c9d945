"""Logarithmic features: normalised features, of which the worst matched sample counts most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.distill.feature import LearnedLoss, misfit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class LogarithmicFeatures(LearnedLoss):
    """`log sum abs(B(W s) - B(t))^a` over samples and dimensions, of features averaged over positions.

    `W` is a linear map that is learned along, `B` batch normalisation without weights; no `Match(projection=...)` is
    needed. The logarithm keeps the size of the gradient while features come closer. Many samples a batch are better.

    Args:
        power: a, from 1; the paper has 4.
        channel_axis: dimension of the channels, 1 for images and vectors, -1 for `[samples, positions, channels]`.

    Guarantees:
        A positive factor on all features, and a shift of all samples, change nothing (up to the norm's epsilon).

    Reference:
        Miles, Mikolajczyk, 2024, arXiv:2303.11098 (simple recipe distillation, SRD), section 3.

    Example:
        >>> import torch
        >>> pair = Pair(student=torch.eye(3), teacher=torch.eye(3))
        >>> LogarithmicFeatures().module(pair)(pair).shape
        torch.Size([])
    """

    power: float = 4.0
    channel_axis: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.power < float("inf"):
            raise invalid("LogarithmicFeatures.power", self.power, "a number from 1")

    def module(self, pair: Pair) -> nn.Module:
        """Returns the map and the norms.

        Raises:
            UsageError: a layer has no features.
        """
        if pair.student.dim() < 2 or pair.teacher.dim() < 2:
            raise misfit(pair, "LogarithmicFeatures", "[samples, channels, ...]", "")
        student, teacher = (x.shape[self.channel_axis] for x in (pair.student, pair.teacher))
        return _Compared(student, teacher, self)


class _Compared(nn.Module):
    def __init__(self, student: int, teacher: int, config: LogarithmicFeatures) -> None:
        super().__init__()
        self.map, self.config = nn.Linear(student, teacher), config

    def forward(self, pair: Pair) -> Tensor:
        student, teacher = (pair.sample_means(x, self.config.channel_axis) for x in (pair.student, pair.teacher))
        ours, theirs = _normalised(self.map(student)), _normalised(teacher)
        return ((ours - theirs).abs() ** self.config.power).sum().clamp(min=1e-12).log()


def _normalised(rows: Tensor) -> Tensor:
    """Returns columns of mean 0 and variance 1; a batch of one becomes zeros."""
    centred = rows - rows.mean(0)
    return centred / (centred.square().mean(0) + 1e-5).sqrt()
