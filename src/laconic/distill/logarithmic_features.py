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
        return _Compared(pair.student.shape[1], pair.teacher.shape[1], self.power)


class _Compared(nn.Module):
    def __init__(self, student: int, teacher: int, power: float) -> None:
        super().__init__()
        self.map, self.power = nn.Linear(student, teacher), power

    def forward(self, pair: Pair) -> Tensor:
        ours = _normalised(self.map(pair.sample_means(pair.student, 1)))
        theirs = _normalised(pair.sample_means(pair.teacher, 1))
        return ((ours - theirs).abs() ** self.power).sum().clamp(min=1e-12).log()


def _normalised(rows: Tensor) -> Tensor:
    """Returns columns of mean 0 and variance 1; a batch of one becomes zeros."""
    centred = rows - rows.mean(0)
    return centred / (centred.square().mean(0) + 1e-5).sqrt()
