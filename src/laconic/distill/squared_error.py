"""Squared error: learn the teacher's outputs themselves, for models that answer with values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.distill.domain import check_share
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class SquaredError(DistillationLoss):
    """Matches the teacher's outputs: `(1 - hard_weight) * mean((student - teacher)^2) + hard_weight * criterion`.

    Args:
        hard_weight: share of the loss on labels, in [0, 1]; without labels the outputs stand alone, with weight 1.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.

    Reference:
        Ba, Caruana, 2014, arXiv:1312.6184, equation 2 (there on logits).

    Example:
        >>> lesson = Lesson(student=torch.tensor([[1.0], [2.0]]), teacher=torch.tensor([[1.0], [4.0]]))
        >>> SquaredError().terms(lesson)
        {'outputs': tensor(2.)}
    """

    hard_weight: float = 0.0

    def __post_init__(self) -> None:
        check_share("SquaredError", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `outputs` and, where labels have a share, `labels`."""
        exact = torch.promote_types(lesson.student.dtype, torch.float32)
        outputs = functional.mse_loss(lesson.student.to(exact), lesson.teacher.to(exact))
        return lesson.mix({"outputs": outputs}, self.hard_weight)
