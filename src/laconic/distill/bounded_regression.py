"""Bounded regression: the teacher says how good is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import DataError
from laconic.core.metric import squared_errors
from laconic.distill.domain import check_share, check_weight
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class BoundedRegression(DistillationLoss):
    """Squared error on the labels where the student is not better than the teacher by a margin, 0 elsewhere.

    `mean_i (e_i if e_i + margin > f_i else 0)`, `e_i`, `f_i` the mean squared errors of student and teacher on sample
    i. A teacher's values may be wrong in any direction, so they are a bound and no target.

    Args:
        margin: in squared units of the labels, 0 or more.
        hard_weight: share of the loss on all labels, in [0, 1].

    Guarantees:
        Samples on which the student's error is below the teacher's by the margin get no gradient.
        It is at most the mean squared error.

    Reference:
        Chen, Choi, Yu, Han, Chandraker, 2017, NIPS, equation 4.

    Example:
        >>> student, teacher = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]])
        >>> lesson = Lesson(student=student, teacher=teacher, labels=torch.zeros(2, 1))
        >>> BoundedRegression().terms(lesson)  # (0 + 9) / 2
        {'bounded outputs': tensor(4.5000)}
    """

    margin: float = 0.0
    hard_weight: float = 0.0

    def __post_init__(self) -> None:
        check_weight("BoundedRegression.margin", self.margin)
        check_share("BoundedRegression", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `bounded outputs` and, where labels have a share, `labels`.

        Raises:
            DataError: there are no labels, or they are of another shape.
        """
        if lesson.labels is None:
            raise DataError("BoundedRegression: a batch has no labels, and this loss needs them. Yield (x, y).")
        ours, theirs = (_errors(x, lesson.labels) for x in (lesson.student, lesson.teacher))
        bounded = ours.where(ours + self.margin > theirs, 0).mean()
        return lesson.mix({"bounded outputs": bounded}, self.hard_weight)


def _errors(values: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean squared error of each sample, `[samples]`."""
    exact = torch.promote_types(values.dtype, torch.float32)
    errors = squared_errors(values.to(exact), labels.to(exact))
    return errors.flatten(1).mean(1) if errors.dim() > 1 else errors
