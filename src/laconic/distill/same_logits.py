"""Logit regression: learn the teacher's logits themselves, not the probabilities that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.answers import answers
from laconic.distill.domain import check_share
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class SameLogits(DistillationLoss):
    """Matches the teacher's logits: `(1 - hard_weight) * mean((student - teacher)^2) + hard_weight * criterion`.

    The mean is over classes and positions; positions whose label is -100 do not count.

    Args:
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.
        class_axis: the logits' class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is
            clear.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        Positions with label -100 get no gradient.

    Reference:
        Ba, Caruana, 2014, arXiv:1312.6184, equation 2. Compared with soft labels: Kim, Oh, Kim, Cho, Yun, 2021,
        arXiv:2105.08919.

    Example:
        >>> import torch
        >>> SameLogits().terms(Lesson(student=torch.tensor([[1.0, 0.0]]), teacher=torch.tensor([[3.0, 0.0]])))
        {'logits': tensor(2.)}
    """

    hard_weight: float = 0.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        check_share("SameLogits", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `logits` and, where labels have a share, `labels`.

        Raises:
            DataError: the class dimension is not clear, or labels are out of range.
        """
        rows = answers(lesson, "SameLogits", self.class_axis)
        errors = (rows.student - rows.teacher).square().mean(-1)
        return lesson.mix({"logits": rows.mean(errors)}, self.hard_weight)
