"""Neuron selectivity (NST): the student's channels are to fire at the places where the teacher's do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.core.errors import check_whole
from laconic.distill.feature import FeatureLoss, at_same_size, maps, misfit, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class NeuronSelectivity(FeatureLoss):
    """Maximum mean discrepancy of channels: `mean k(t, t') + mean k(s, s') - 2 mean k(s, t)`.

    `k(x, y) = (x . y)^degree`. Each channel of a sample, over all its positions and of length 1, is a draw from a
    distribution; the two distributions are compared. Images of different sizes are averaged down to the smaller one.

    Args:
        degree: of the kernel, a whole number from 2; the paper's polynomial kernel has 2.
        channel_axis: dimension of the channels, 1 for images, -1 for `[samples, positions, channels]`.

    Guarantees:
        The distance of equal features is 0, and so is its gradient; it is never negative.
        The number of channels may differ; their order and a positive factor on each change nothing.

    Reference:
        Huang, Wang, 2017, arXiv:1707.01219; the polynomial kernel of section 3.

    Example:
        >>> import torch
        >>> left, right = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
        >>> NeuronSelectivity().distance(Pair(student=left, teacher=right))
        tensor(2.)
    """

    degree: int = 2
    channel_axis: int = 1

    def __post_init__(self) -> None:
        check_whole("NeuronSelectivity.degree", self.degree, 2)

    def distance(self, pair: Pair) -> Tensor:
        """Returns the discrepancy.

        Raises:
            UsageError: the features have no positions, or not the same.
        """
        student, teacher = (self._channels(x) for x in at_same_size(*pair.kept()))
        if student.shape[-1] != teacher.shape[-1]:
            raise misfit(pair, "NeuronSelectivity", "the same positions", "Match layers of the same resolution.")
        return self._mean(teacher, teacher) + self._mean(student, student) - 2 * self._mean(student, teacher)

    def _channels(self, features: Tensor) -> Tensor:
        return unit(maps(features, self.channel_axis, "NeuronSelectivity"))

    def _mean(self, one: Tensor, other: Tensor) -> Tensor:
        return (one @ other.mT).pow(self.degree).mean()
