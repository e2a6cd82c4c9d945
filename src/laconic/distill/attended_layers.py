"""Attended layers: which layers of the teacher a layer of the student learns from is learned along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from laconic.core.errors import check_whole
from laconic.distill.feature import LearnedLoss, at_same_size, same_shape, unit
from laconic.distill.pair import Pair

FRESH = 0.01
"""What a step counts in the running mean of the attention: the mean over about the last hundred steps."""


@final
@dataclass(frozen=True, kw_only=True)
class AttendedLayers(LearnedLoss):
    """Errors against several layers of the teacher, weighted by attention: `mean_i sum_l a_il d(S_il, T_il)`.

    `a_i = softmax_l(q_l(S_il) . k_l(T_il) / sqrt(dimension))` for each sample, with `q_l`, `k_l` two linear maps,
    learned along, of features that are averaged over positions and of length 1; `d` is the mean squared error over the
    mean square of the teacher's layer, so that none is preferred for being small. `S_il` is the student's layer through
    its projection to layer l. `Match(teacher=("0", "1", "2"), student="1", loss=AttendedLayers(), projection="linear")`
    names one layer of the student and those it may learn from; `match="learned"` does so by itself. `Trained.pairing`
    tells whom it came to learn from.

    Args:
        dimension: of the space in which layers are compared.
        channel_axis: dimension of the channels, 1 for images and vectors, -1 for `[samples, positions, channels]`.

    Guarantees:
        The attention of a sample sums to 1.
        The loss of a student that has the features of all layers is 0, and so is its gradient.
        Of one layer alone it is `SameFeatures` over the mean square of the teacher's features.

    Reference:
        Chen, Mei, Zhang, Wang, Wang, Feng, Chen, 2021, arXiv:2012.03236 (SemCKD: attention for each sample);
        Passban, Wu, Rezagholizadeh, Liu, 2021, arXiv:2012.14022 (ALP-KD: attention over all layers of the teacher).

    Example:
        >>> near, far = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, -1.0]])
        >>> pair = Pair(student=near, teacher=near, following=Pair(student=near, teacher=far))
        >>> 0 < AttendedLayers(dimension=4).module(pair)(pair).item() < 2  # Between 0 and the error against `far`.
        True
    """

    dimension: int = 64
    channel_axis: int = 1
    layers: ClassVar[str] = "one layer of the student and any number of the teacher"

    def __post_init__(self) -> None:
        check_whole("AttendedLayers.dimension", self.dimension, 1)

    def takes(self, teachers: int, students: int) -> bool:
        """Returns whether there is one of the student and at least one of the teacher."""
        return students == 1 <= teachers

    def module(self, pair: Pair) -> nn.Module:
        """Returns the attention with its linear maps."""
        return Attention(pair, self.dimension, self.channel_axis)


@final
class Attention(nn.Module):
    """The linear maps at work, and how much was learned from each layer of late."""

    shares: Tensor
    steps: Tensor

    def __init__(self, pair: Pair, dimension: int, channel_axis: int) -> None:
        super().__init__()
        widths = [(p.student.shape[channel_axis], p.teacher.shape[channel_axis]) for p in pair.levels]
        self.queries = nn.ModuleList(nn.Linear(student, dimension) for student, _ in widths)
        self.keys = nn.ModuleList(nn.Linear(teacher, dimension) for _, teacher in widths)
        self.scale, self.channel_axis = dimension**0.5, channel_axis
        self.register_buffer("shares", torch.full((len(widths),), 1 / len(widths)))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, pair: Pair) -> Tensor:
        """Returns the loss; where gradients are on, the attention enters its running mean."""
        errors = torch.stack([_errors(level) for level in pair.levels], dim=1)
        attention = self.attention(pair)
        if torch.is_grad_enabled():
            self.steps += 1
            self.shares.lerp_(attention.detach().mean(0), (1 / self.steps).clamp(min=FRESH))
        return (attention * errors).sum(1).mean()

    def attention(self, pair: Pair) -> Tensor:
        """Returns how much each sample learns from each layer, `[samples, layers]`."""
        scores = [
            (query(self._pooled(level, level.student)) * key(self._pooled(level, level.teacher))).sum(-1)
            for query, key, level in zip(self.queries, self.keys, pair.levels, strict=True)
        ]
        attention: Tensor = (torch.stack(scores, dim=1) / self.scale).softmax(1)
        return attention

    def _pooled(self, level: Pair, features: Tensor) -> Tensor:
        """Returns the mean over the positions that count, of length 1, `[samples, channels]`."""
        return unit(level.sample_means(features, self.channel_axis))


def _errors(level: Pair) -> Tensor:
    """Returns the relative error of each sample, `[samples]`."""
    student, teacher = at_same_size(level.student, level.teacher)
    sized = Pair(student=student, teacher=teacher, mask=level.mask)
    same_shape(sized, "AttendedLayers")
    size = sized.mean(teacher.square()).clamp(min=1e-12)
    return sized.sample_means((student - teacher).square()) / size
