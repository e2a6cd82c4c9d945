"""A teacher that is made up: right, and not too sure of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.core.metric import IGNORED_LABEL
from laconic.distill.lesson import DistillationLoss, Lesson, one_class_each


@final
@dataclass(frozen=True, kw_only=True)
class VirtualTeacher(DistillationLoss):
    """Any loss on answers, with a teacher that gives the label `sure` and the other classes the rest alike.

    No network is asked: `train(model, task, training, objective=without_teacher(task, VirtualTeacher(...)))`. At a high
    temperature it is label smoothing that keeps what is not smoothed.

    Args:
        loss: on the made-up answer, such as `SoftLabels(temperature=20, hard_weight=0.9)`.
        sure: probability of the label before any temperature, in (0, 1), above that of chance.
        class_axis: the logits' class dimension.

    Guarantees:
        The made-up teacher's likeliest class is the label.

    Reference:
        Yuan, Tay, Li, Wang, Feng, 2020, arXiv:1909.11723 (Tf-KD, regularisation), equation 8.

    Example:
        >>> from laconic.distill import SoftLabels
        >>> student = torch.tensor([[0.9, 0.05, 0.05]]).log()
        >>> lesson = Lesson(student=student, teacher=student, labels=torch.tensor([0]))
        >>> bool(VirtualTeacher(loss=SoftLabels(), sure=0.9).terms(lesson)["soft labels"].abs() < 1e-6)
        True
    """

    loss: DistillationLoss
    sure: float = 0.99
    class_axis: int = -1

    def __post_init__(self) -> None:
        if not 0 < self.sure < 1:
            raise invalid("VirtualTeacher.sure", self.sure, "a probability in (0, 1)", "Usual is 0.9 to 0.99.")

    @property
    def aligned(self) -> bool:
        """Whatever teacher there is, is not asked."""
        return False

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of the loss.

        Raises:
            DataError: there are no labels, or they are out of range or of another shape.
            UsageError: the label would be less likely than chance.
        """
        logits = lesson.student.detach().movedim(self.class_axis, -1)
        labels, classes = one_class_each("VirtualTeacher", logits, lesson.labels), logits.shape[-1]
        if self.sure * classes <= 1:
            raise invalid("VirtualTeacher.sure", self.sure, f"more than chance, 1 of {classes}")
        made_up = torch.full_like(logits, math.log((1 - self.sure) / (classes - 1)))
        true = labels.where(labels != IGNORED_LABEL, 0).long()[..., None]
        made_up.scatter_(-1, true, math.log(self.sure))
        return self.loss.terms(replace(lesson, teacher=made_up.movedim(-1, self.class_axis), aligned=self.loss.aligned))
