"""A teacher that is right: where it is not, its answer for the truth and its favourite change places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from laconic.core.metric import IGNORED_LABEL
from laconic.distill.lesson import DistillationLoss, Lesson, one_class_each


@final
@dataclass(frozen=True, kw_only=True)
class ProbabilityShift(DistillationLoss):
    """Any loss on answers, with a teacher that is corrected first.

    Where the teacher's likeliest class is not the label, the logits of the two change places; all other classes keep
    theirs, and what it says besides stays.

    Args:
        loss: on the corrected answers, such as `SoftLabels(temperature=4)`.
        class_axis: the logits' class dimension.

    Guarantees:
        The corrected teacher's likeliest class is the label; where it was already, nothing changes.
        Positions with label -100 are left as they are.

    Reference:
        Wen, Lai, Qian, 2019, arXiv:1911.07471, section 3.2 (probability shift).

    Example:
        >>> from laconic.distill import SameLogits
        >>> student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])
        >>> lesson = Lesson(student=student, teacher=teacher, labels=torch.tensor([1]))
        >>> ProbabilityShift(loss=SameLogits()).terms(lesson)
        {'logits': tensor(0.)}
    """

    loss: DistillationLoss
    class_axis: int = -1

    @property
    def aligned(self) -> bool:
        """As the loss needs it."""
        return self.loss.aligned

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of the loss.

        Raises:
            DataError: there are no labels, or they are out of range or of another shape.
        """
        teacher = lesson.teacher.movedim(self.class_axis, -1)
        labels = one_class_each("ProbabilityShift", teacher, lesson.labels)
        corrected = shifted(teacher, labels).movedim(-1, self.class_axis)
        return self.loss.terms(replace(lesson, teacher=corrected))


def shifted(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns logits `[..., classes]` whose largest stands at the label, and what stood there where it was."""
    counted = labels != IGNORED_LABEL
    best = logits.argmax(-1, keepdim=True)
    true = labels.where(counted, 0).long()[..., None].where(counted[..., None], best)
    largest, given = logits.gather(-1, best), logits.gather(-1, true)
    return torch.scatter(logits.scatter(-1, best, given), -1, true, largest)
