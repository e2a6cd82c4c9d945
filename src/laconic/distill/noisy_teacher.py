"""A teacher whose answers are disturbed: many teachers from one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class NoisyTeacher(DistillationLoss):
    """Any loss on answers, with a teacher whose logits are `(1 + x) z`, `x` normal, for some samples of a batch.

    Args:
        loss: on the disturbed answers, such as `SoftLabels(temperature=4)`.
        deviation: of `x`, drawn for each logit from PyTorch's generator, which a resumed run repeats; 0 or more.
        share: of the samples that are disturbed, in [0, 1].

    Guarantees:
        With a deviation or share of 0 it is the loss itself.
        On average over many draws the logits are the teacher's.

    Reference:
        Sau, Balasubramanian, 2016, arXiv:1610.09650, section 3.

    Example:
        >>> from laconic.distill import SameLogits
        >>> lesson = Lesson(student=torch.ones(1, 2), teacher=torch.ones(1, 2))
        >>> NoisyTeacher(loss=SameLogits(), deviation=0.0).terms(lesson)
        {'logits': tensor(0.)}
    """

    loss: DistillationLoss
    deviation: float = 0.1
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.deviation < float("inf"):
            raise invalid("NoisyTeacher.deviation", self.deviation, "0 or a positive number")
        if not 0 <= self.share <= 1:
            raise invalid("NoisyTeacher.share", self.share, "a share in [0, 1]")

    @property
    def aligned(self) -> bool:
        """As the loss needs it."""
        return self.loss.aligned

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of the loss."""
        teacher = lesson.teacher
        disturbed = torch.rand(len(teacher), *[1] * (teacher.dim() - 1), device=teacher.device) < self.share
        noise = self.deviation * torch.randn_like(teacher)
        return self.loss.terms(replace(lesson, teacher=teacher * (1 + noise.where(disturbed, 0))))
