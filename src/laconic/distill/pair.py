"""The same features as student and teacher see them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """What one layer of the student and one of the teacher gave for one batch.

    Both are kept in float32 or better, whatever they are given in.

    Args:
        student: the student's features, `[samples, ...]`; a projection has already been applied.
        teacher: the teacher's, `[samples, ...]`; no gradient flows into them.
        mask: which positions of a sequence count, bool `[samples, positions]`, or None: all do. Features that are no
            sequence of as many positions are not touched by it.
        following: the features of the next, later layer, where a match names several; else None.
        samples: what each sample is known by, int64 `[samples]`, for losses that ask for it; else None.
    """

    student: Tensor
    teacher: Tensor
    mask: Tensor | None = None
    following: Pair | None = None
    samples: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "student", _exact(self.student))
        object.__setattr__(self, "teacher", _exact(self.teacher.detach()))

    @property
    def levels(self) -> tuple[Pair, ...]:
        """This layer and those that follow."""
        return (self, *(() if self.following is None else self.following.levels))

    def mean(self, errors: Tensor) -> Tensor:
        """Returns the mean of `[samples, positions, ...]` over everything that counts; a scalar."""
        counts = self._counts(errors)
        if counts is None:
            return errors.mean()
        entries = counts.sum() * (errors.numel() // counts.numel())
        return errors.where(counts, 0).sum() / entries.clamp(min=1)

    def sample_means(self, values: Tensor, channel_axis: int | None = None) -> Tensor:
        """Returns the mean of each sample over what counts, `[samples]`; of each channel, `[samples, channels]`."""
        counts = self._counts(values)
        counted = torch.ones_like(values) if counts is None else counts.expand_as(values).to(values.dtype)
        kept = values if counts is None else values.where(counts, 0)
        return _sums(kept, channel_axis) / _sums(counted, channel_axis).clamp(min=1)

    def kept(self) -> tuple[Tensor, Tensor]:
        """Returns student and teacher with zeros where a position does not count."""
        return self._kept(self.student), self._kept(self.teacher)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Returns student and teacher as `[samples, features]`, with zeros where a position does not count."""
        student, teacher = self.kept()
        return student.flatten(1), teacher.flatten(1)

    def counted(self, features: Tensor) -> Tensor | None:
        """Returns which positions of features count, bool `[samples, positions]`; None: all, or there are none."""
        return None if self.mask is None or features.shape[:2] != self.mask.shape else self.mask

    def _kept(self, features: Tensor) -> Tensor:
        counts = self._counts(features)
        return features if counts is None else features.where(counts, 0)

    def _counts(self, features: Tensor) -> Tensor | None:
        mask = self.counted(features)
        return None if mask is None else mask.view(*mask.shape, *[1] * (features.dim() - 2))


def _exact(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _sums(values: Tensor, channel_axis: int | None) -> Tensor:
    if channel_axis is None:
        return values.flatten(1).sum(1)
    channels = values.movedim(channel_axis, 1)
    return channels.flatten(2).sum(2) if channels.dim() > 2 else channels
