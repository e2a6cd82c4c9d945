"""DIST: learn how classes and samples are ordered by the teacher, not the very probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn import functional

from laconic.distill.answers import answers
from laconic.distill.domain import check_share, check_temperature, check_weight
from laconic.distill.lesson import DistillationLoss, Lesson
from laconic.distill.weighing import weighted


@final
@dataclass(frozen=True, kw_only=True)
class Dist(DistillationLoss):
    """Correlates probabilities: over the classes of each position, and over the positions for each class.

    `(1 - hard_weight) * T^2 * (class_weight * mean_i(1 - r(s_i, t_i)) + sample_weight * mean_c(1 - r(s_c, t_c)))
    + hard_weight * criterion`

    with r the correlation of Pearson, `s`, `t` the softmax of `logits / T`, `i` a position, `c` a class. Positions
    whose label is -100 do not count. With fewer than two positions the second term is 0.

    Args:
        temperature: T, positive.
        class_weight: the paper's beta, 0 or more.
        sample_weight: the paper's gamma, 0 or more.
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.
        class_axis: the logits' class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is
            clear.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient, where probabilities vary.
        Adding a constant to all logits of a position changes nothing.
        Positions with label -100 get no gradient.

    Reference:
        Huang, You, Wang, Qian, Xu, 2022, arXiv:2205.10536.

    Example:
        >>> import torch
        >>> one = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
        >>> lesson = Lesson(student=one, teacher=one.flip(0))
        >>> {name: round(term.item(), 4) for name, term in Dist().terms(lesson).items()}
        {'between classes': 2.0, 'between samples': 2.0}
    """

    temperature: float = 1.0
    class_weight: float = 1.0
    sample_weight: float = 1.0
    hard_weight: float = 0.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        check_temperature("Dist", self.temperature)
        check_weight("Dist.class_weight", self.class_weight)
        check_weight("Dist.sample_weight", self.sample_weight)
        check_share("Dist", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `between classes`, `between samples` and, where labels have a share, `labels`.

        Raises:
            DataError: the class dimension is not clear, or labels are out of range.
        """
        rows = answers(lesson, "Dist", self.class_axis)
        student, teacher = (functional.softmax(x / self.temperature, dim=-1) for x in (rows.student, rows.teacher))
        counts = rows.counts[:, None]
        classes = rows.mean(1 - _cosine(_centred(student), _centred(teacher)))
        columns = 1 - _cosine(_centred_columns(student, counts), _centred_columns(teacher, counts))
        samples = columns.mean() * (counts.sum() > 1)
        scale = self.temperature**2
        terms = {
            "between classes": weighted(scale * classes, self.class_weight),
            "between samples": weighted(scale * samples, self.sample_weight),
        }
        return lesson.mix(terms, self.hard_weight)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return functional.cosine_similarity(one, other, dim=-1)


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(-1, keepdim=True)


def _centred_columns(rows: Tensor, counts: Tensor) -> Tensor:
    """Returns the columns as rows, with mean zero over the positions that count and zeros elsewhere."""
    mean = (rows * counts).sum(0) / counts.sum().clamp(min=1)
    return ((rows - mean) * counts).T
