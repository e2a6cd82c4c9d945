"""Labels alone, as a loss among others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.core.errors import DataError
from laconic.distill.lesson import DistillationLoss, Lesson, label_loss


@final
@dataclass(frozen=True, kw_only=True)
class Labels(DistillationLoss):
    """The task's criterion on the labels; for `Sum`, and for students that learn from features and labels only.

    Example:
        >>> import torch
        >>> lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.zeros(1, 2), labels=torch.tensor([0]))
        >>> Labels().terms(lesson)
        {'labels': tensor(0.6931)}
    """

    @property
    def aligned(self) -> bool:
        """The teacher is not asked."""
        return False

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `labels`.

        Raises:
            DataError: there are no labels, or they are out of range.
        """
        if lesson.labels is None:
            raise DataError("Labels: a batch has no labels, and this loss needs them. Yield (x, y), or leave it out.")
        return {"labels": label_loss(lesson.student, lesson.labels, lesson.criterion)}
