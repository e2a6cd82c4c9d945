"""Review: early layers of the teacher are taught by all later layers of the student as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, interpolate

from laconic.core.errors import check_whole
from laconic.distill.feature import LearnedLoss, misfit
from laconic.distill.hierarchical_context import HierarchicalContext
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class Review(LearnedLoss):
    """Sum over layers of the hierarchical context loss of what the student knows there and of all deeper layers.

    From the deepest layer up, `R_i = a_i * C_i(S_i) + b_i * up(R_(i+1))` with `C_i` a convolution of one pixel to
    `width` channels, `up` enlarging by nearest pixels, and `a_i`, `b_i` two maps of attention in (0, 1), learned from
    both; `loss = sum_i HierarchicalContext(D_i(R_i), T_i)` with `D_i` a convolution of 3 x 3 pixels to the teacher's
    channels. All of it is trained along with the student and then thrown away; no `Match(projection=...)` is needed.

    `Match(teacher=("layer1", "layer2", "layer3"), student=("layer1", "layer2", "layer3"), loss=Review())` names layers
    from first to last. The paper lets its weight rise over the first epochs: `schedule=Ramp(until=0.1)`.

    Args:
        width: channels of what is handed from layer to layer; None: those of the student's last layer, at most 512.

    Guarantees:
        The loss is never negative.
        Of one layer alone it is `HierarchicalContext` after a projection.

    Reference:
        Chen, Liu, Zhao, Jia, 2021, arXiv:2104.09044, sections 3.2 (ABF, residual learning) and 3.3 (HCL).

    Example:
        >>> deep = Pair(student=torch.ones(2, 3, 2, 2), teacher=torch.ones(2, 5, 2, 2))
        >>> both = Pair(student=torch.ones(2, 2, 4, 4), teacher=torch.ones(2, 4, 4, 4), following=deep)
        >>> Review(width=4).module(both)(both).shape
        torch.Size([])
    """

    width: int | None = None
    layers: ClassVar[str] = "as many layers of each, from first to last"

    def __post_init__(self) -> None:
        if self.width is not None:
            check_whole("Review.width", self.width, 1)

    def takes(self, teachers: int, students: int) -> bool:
        """Returns whether there are as many of each."""
        return teachers == students

    def module(self, pair: Pair) -> nn.Module:
        """Returns the convolutions and attentions of all layers.

        Raises:
            UsageError: a layer's features are no images.
        """
        for level in pair.levels:
            if level.student.dim() != 4 or level.teacher.dim() != 4:
                raise misfit(level, "Review", "images [samples, channels, height, width]", "Match convolutions.")
        width = self.width or min(512, pair.levels[-1].student.shape[1])
        return _Reviewer(pair, width)


class _Reviewer(nn.Module):
    def __init__(self, pair: Pair, width: int) -> None:
        super().__init__()
        last = len(pair.levels) - 1
        self.steps = nn.ModuleList(
            _Step(level.student.shape[1], width, level.teacher.shape[1], fuses=i < last)
            for i, level in enumerate(pair.levels)
        )

    def forward(self, pair: Pair) -> Tensor:
        loss, known = pair.student.new_zeros(()), None
        for step, level in zip(reversed(self.steps), reversed(pair.levels), strict=True):
            known, told = step(level.student, known, level.teacher.shape[2:])
            loss = loss + HierarchicalContext().distance(Pair(student=told, teacher=level.teacher))
        return loss


class _Step(nn.Module):
    """One layer: takes in what deeper layers know, and says it in the teacher's channels."""

    def __init__(self, student: int, width: int, teacher: int, *, fuses: bool) -> None:
        super().__init__()
        self.taken = nn.Sequential(nn.Conv2d(student, width, 1, bias=False), _Norm(width))
        self.told = nn.Sequential(nn.Conv2d(width, teacher, 3, padding=1, bias=False), _Norm(teacher))
        self.attention = nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid()) if fuses else None

    def forward(self, features: Tensor, deeper: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        known = self.taken(features)
        if self.attention is not None and deeper is not None:
            deeper = interpolate(deeper, known.shape[2:], mode="nearest")
            own, others = self.attention(torch.cat([known, deeper], dim=1)).split(1, dim=1)
            known = own * known + others * deeper
        seen = known if known.shape[2:] == size else interpolate(known, size, mode="nearest")
        return known, self.told(seen)


class _Norm(nn.BatchNorm2d):
    """Batch normalisation that goes by what it remembers where a channel has a single value: one pixel, one sample."""

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > x.shape[1]:
            return nn.BatchNorm2d.forward(self, x)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)
