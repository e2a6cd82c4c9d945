"""Top soft labels: for vocabularies so large that most probabilities say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import check_whole
from laconic.distill.answers import FAR_BELOW, answers, divergence
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class TopSoftLabels(DistillationLoss):
    """Soft labels on the teacher's k likeliest classes; all the others are one class more, with their whole mass.

    `(1 - hard_weight) * T^2 * KL(p || q) + hard_weight * criterion`

    with `p`, `q` the `k + 1` probabilities of teacher and student at temperature T: of the teacher's likeliest classes,
    and of the rest together.

    Unlike top-k with the rest left out, or spread by renormalising, it does not pull the student to be surer than the
    teacher.

    Args:
        k: how many classes count by themselves, from 1.
        temperature: T, positive.
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.
        class_axis: the logits' class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is
            clear.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        It is at most that of soft labels, grows with k, and from `classes - 1` on equals it.
        Positions with label -100 get no gradient.

    Reference:
        The divergence of Hinton, Vinyals, Dean, 2015, arXiv:1503.02531, after merging classes, which can only lower it
        (Cover, Thomas, 2006, theorem 2.7.1, the log sum inequality).

    Example:
        >>> lesson = Lesson(student=torch.zeros(1, 4), teacher=torch.tensor([[2.0, 0.0, 0.0, 0.0]]))
        >>> {name: round(term.item(), 4) for name, term in TopSoftLabels(k=1, temperature=1).terms(lesson).items()}
        {'top soft labels': 0.468}
    """

    k: int = 50
    temperature: float = 1.0
    hard_weight: float = 0.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        check_whole("TopSoftLabels.k", self.k, 1)
        check_temperature("TopSoftLabels", self.temperature)
        check_share("TopSoftLabels", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `top soft labels` and, where labels have a share, `labels`.

        Raises:
            DataError: the class dimension is not clear, or labels are out of range.
        """
        rows = answers(lesson, "TopSoftLabels", self.class_axis)
        top = rows.teacher.topk(min(self.k, rows.teacher.shape[-1])).indices
        student, teacher = (_merged(x / self.temperature, top) for x in (rows.student, rows.teacher))
        nats = rows.mean(divergence(student, teacher)) * self.temperature**2
        return lesson.mix({"top soft labels": nats}, self.hard_weight)


def _merged(logits: Tensor, top: Tensor) -> Tensor:
    """Returns logits of the top classes and of all the others together, `[rows, k + 1]`."""
    rest = logits.scatter(-1, top, FAR_BELOW).logsumexp(-1, keepdim=True)
    return torch.cat([logits.gather(-1, top), rest], dim=-1)
