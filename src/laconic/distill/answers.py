"""Logits as rows, one a position, whatever their layout; and what is averaged over the rows that count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.errors import DataError
from laconic.core.metric import IGNORED_LABEL, class_last
from laconic.distill.lesson import Lesson

FAR_BELOW = -1e30
"""Stands for a logit of minus infinity; a finite one keeps gradients finite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What student and teacher answered, in float32 or better.

    Args:
        student: `[rows, classes]`, one row for each position of each sample.
        teacher: the same.
        labels: the class of each row, -100 where it does not count, `[rows]`; or None.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """1.0 for each row that counts, 0.0 for the others; `[rows]`."""
        if self.labels is None:
            return self.student.new_ones(len(self.student))
        return (self.labels != IGNORED_LABEL).to(self.student.dtype)

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of one value a row over the rows that count; 0 where there are none."""
        if self.labels is None:
            return values.mean()
        counts = self.labels != IGNORED_LABEL
        return values.where(counts, 0).sum() / counts.sum().clamp(min=1)


def answers(lesson: Lesson, where: str, class_axis: int | None = None) -> Answers:
    """Lays a lesson's logits out in rows.

    Args:
        lesson: logits `[n, c]`, `[n, c, ...]` or `[n, ..., c]`; labels of the shape without the classes, or None.
        where: the loss that asks, for errors.
        class_axis: the class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is clear.

    Raises:
        DataError: the class dimension is not clear, or the labels' shape does not fit.
    """

    def rows(logits: Tensor) -> Tensor:
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return _class_last(exact, lesson.labels, where, class_axis).flatten(0, -2)

    labels = None if lesson.labels is None else lesson.labels.flatten()
    return Answers(student=rows(lesson.student), teacher=rows(lesson.teacher), labels=labels)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns `KL(softmax(teacher) || softmax(student))` of each row, in nats; `[rows, classes]` to `[rows]`."""
    ours, theirs = functional.log_softmax(student, dim=-1), functional.log_softmax(teacher, dim=-1)
    return functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)


def _class_last(logits: Tensor, labels: Tensor | None, where: str, class_axis: int | None) -> Tensor:
    if class_axis is not None:
        return logits.movedim(class_axis, -1)
    if labels is not None:
        return class_last(logits, labels)
    if logits.dim() == 2:
        return logits
    raise DataError(
        f"{where}: logits of shape {list(logits.shape)} without labels do not tell which dimension holds the "
        f"classes. Pass {where}(class_axis=1) for [n, c, ...] or class_axis=-1 for [n, ..., c]."
    )
