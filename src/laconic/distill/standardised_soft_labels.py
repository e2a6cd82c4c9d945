"""Standardised soft labels: learn what the teacher's logits say to each other, whatever their scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn import functional

from laconic.distill.answers import answers, divergence
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class StandardisedSoftLabels(DistillationLoss):
    """Soft labels of logits that have mean 0 and deviation 1 over the classes of each position.

    `(1 - hard_weight) * T^2 * KL(softmax(Z(teacher) / T) || softmax(Z(student) / T)) + hard_weight * criterion`,
    `Z(x) = (x - mean(x)) / sqrt(var(x) + 1e-8)`

    A small student need not reach the range of a large teacher's logits, only their shape.

    Args:
        temperature: T, positive.
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.
        class_axis: the logits' class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is
            clear.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        Neither a constant added to all logits of a position nor a positive factor on them changes the loss.
        Positions with label -100 get no gradient.

    Reference:
        Sun, Ren, Li, Wang, Cao, 2024, arXiv:2403.01427.

    Example:
        >>> import torch
        >>> lesson = Lesson(student=torch.tensor([[1.0, 2.0]]), teacher=torch.tensor([[-30.0, 70.0]]))
        >>> {name: round(term.item(), 4) for name, term in StandardisedSoftLabels().terms(lesson).items()}
        {'standardised soft labels': 0.0}
    """

    temperature: float = 2.0
    hard_weight: float = 0.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        check_temperature("StandardisedSoftLabels", self.temperature)
        check_share("StandardisedSoftLabels", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `standardised soft labels` and, where labels have a share, `labels`.

        Raises:
            DataError: the class dimension is not clear, or labels are out of range.
        """
        rows = answers(lesson, "StandardisedSoftLabels", self.class_axis)
        student, teacher = (_standardised(x) / self.temperature for x in (rows.student, rows.teacher))
        nats = rows.mean(divergence(student, teacher)) * self.temperature**2
        return lesson.mix({"standardised soft labels": nats}, self.hard_weight)


def _standardised(rows: Tensor) -> Tensor:
    return functional.layer_norm(rows, rows.shape[-1:], eps=1e-8)
