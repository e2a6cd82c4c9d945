"""The contracts of what compares features: with weights of its own, or without."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import adaptive_avg_pool2d

from laconic.core.errors import UsageError, invalid
from laconic.distill.pair import Pair


class LayerLoss:
    """Which layers a loss compares, and what else it must be told."""

    layers: ClassVar[str] = "one layer of each"
    """The layers that a match may name, in words."""
    by_sample: ClassVar[bool] = False
    """Whether it must know which sample is which (`Pair.samples`)."""

    def takes(self, teachers: int, students: int) -> bool:
        """Returns whether so many layers of teacher and student can be compared."""
        return teachers == students == 1


class FeatureLoss(LayerLoss, ABC):
    """One way to say how far the student's features are from the teacher's. Immutable; concrete losses are final."""

    @abstractmethod
    def distance(self, pair: Pair) -> Tensor:
        """Returns the distance, a scalar.

        Raises:
            UsageError: features of these shapes cannot be compared.
        """


class LearnedLoss(LayerLoss, ABC):
    """A way that has weights of its own, which are trained along with the student. Immutable; concrete are final."""

    @abstractmethod
    def module(self, pair: Pair) -> nn.Module:
        """Returns a new module that maps a `Pair` to the distance, a scalar, for features of these shapes.

        Raises:
            UsageError: features of these shapes cannot be compared.
        """


def same_shape(pair: Pair, where: str) -> None:
    """Raises a `UsageError` unless student and teacher have the same shape."""
    if pair.student.shape != pair.teacher.shape:
        raise misfit(pair, where, "the same shape", "Match(projection='linear') or 'conv' joins different widths.")


def misfit(pair: Pair, where: str, expected: str, mend: str) -> UsageError:
    """Returns the error for features that cannot be compared."""
    student, teacher = (list(t.shape) for t in (pair.student, pair.teacher))
    return UsageError(
        f"{where}: got features {student} of the student, {teacher} of the teacher; expected {expected}. {mend}"
    )


def maps(features: Tensor, channel_axis: int, where: str) -> Tensor:
    """Lays features out as `[samples, channels, positions]`.

    Raises:
        UsageError: they have fewer than three dimensions: there are no positions.
    """
    if features.dim() < 3:
        raise invalid(
            f"{where}: features", list(features.shape), "[samples, channels, positions ...]", "Match an earlier layer."
        )
    return features.movedim(channel_axis, 1).flatten(2)


def positions(pair: Pair, features: Tensor, channel_axis: int) -> Tensor | int:
    """Returns how many positions of features count, for each sample as it spreads to `[samples, channels, channels]`.

    Args:
        pair: whose mask says which count.
        features: the student's or the teacher's, `[samples, channels, positions ...]` or the channels elsewhere.
        channel_axis: dimension of the channels.
    """
    counts = pair.counted(features)
    if counts is None:
        return features[0].numel() // features.shape[channel_axis]
    return counts.sum(1).clamp(min=1)[:, None, None]


def unit(vectors: Tensor) -> Tensor:
    """Returns vectors of length 1 along the last dimension.

    A vector that is all but zero has no direction: it becomes zero, and no gradient flows into it.
    """
    lengths: Tensor = vector_norm(vectors, dim=-1, keepdim=True)
    pointing = lengths > 1e-6
    return (vectors / lengths.where(pointing, 1)).where(pointing, 0)


def at_same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Averages images `[samples, channels, height, width]` of different sizes down to the smaller one.

    Anything else is returned as it is.
    """
    if student.dim() != 4 or teacher.dim() != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height, width = (min(sides) for sides in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return adaptive_avg_pool2d(student, (height, width)), adaptive_avg_pool2d(teacher, (height, width))
