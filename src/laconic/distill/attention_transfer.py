"""Attention transfer: look where the teacher looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.feature import FeatureLoss, at_same_size, maps, misfit, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(FeatureLoss):
    """Squared error of attention maps: `mean((q(student) - q(teacher))^2)`, `q(F) = normalise(sum_c |F_c|^power)`.

    A map says how strongly each position is active, over all channels; it has length 1 for each sample. Images of
    different sizes are averaged down to the smaller one.

    Args:
        power: 1 or more; higher values look at the strongest channels.
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        The number of channels, their order, their signs, and a factor on a sample's features change nothing.

    Reference:
        Zagoruyko, Komodakis, 2017, arXiv:1612.03928, equation 2; the mean of squares as in the authors' code.

    Example:
        >>> import torch
        >>> left, right = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
        >>> AttentionTransfer().distance(Pair(student=left, teacher=right))
        tensor(1.)
    """

    power: float = 2.0
    channel_axis: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.power < float("inf"):
            raise invalid("AttentionTransfer.power", self.power, "a number from 1")

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error of the maps.

        Raises:
            UsageError: the features have no positions, or not the same.
        """
        student, teacher = (self._attention(x) for x in at_same_size(*pair.kept()))
        if student.shape != teacher.shape:
            raise misfit(pair, "AttentionTransfer", "the same positions", "Match layers of the same resolution.")
        return pair.mean((student - teacher).square())

    def _attention(self, features: Tensor) -> Tensor:
        strength = maps(features, self.channel_axis, "AttentionTransfer").abs().pow(self.power).sum(1)
        return unit(strength)
