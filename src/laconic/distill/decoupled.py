"""Decoupled soft labels (DKD): how sure the teacher is, and what it thinks of the other classes, weighed apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import DataError
from laconic.core.metric import IGNORED_LABEL
from laconic.distill.answers import FAR_BELOW, Answers, answers, divergence
from laconic.distill.domain import check_share, check_temperature, check_weight
from laconic.distill.lesson import DistillationLoss, Lesson, check_range
from laconic.distill.weighing import weighted


@final
@dataclass(frozen=True, kw_only=True)
class Decoupled(DistillationLoss):
    """Splits soft labels into the class that is right and all the others.

    `(1 - hard_weight) * T^2 * (target_weight * KL(b_t || b_s) + other_weight * KL(q_t || q_s))
    + hard_weight * criterion`

    with `b = (p_y, 1 - p_y)` for the label `y`, `q` the probabilities of the other classes among themselves, both of
    `softmax(logits / T)`. Soft labels are the case `target_weight = 1`, `other_weight = 1 - p_y` of the teacher, which
    hides the other classes where the teacher is sure.

    Args:
        temperature: T, positive.
        target_weight: the paper's alpha, 0 or more.
        other_weight: the paper's beta, 0 or more; it took 1 to 10, more where the teacher is surer.
        hard_weight: share of the loss on labels, in [0, 1].
        class_axis: the logits' class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is
            clear.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        Adding a constant to all logits of a position changes nothing.
        Positions with label -100 get no gradient.

    Reference:
        Zhao, Cui, Song, Qiu, Liang, 2022, arXiv:2203.08679, equation 7.

    Example:
        >>> teacher, labels = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])
        >>> lesson = Lesson(student=torch.zeros(1, 3), teacher=teacher, labels=labels)
        >>> {name: round(term.item(), 4) for name, term in Decoupled(temperature=1).terms(lesson).items()}
        {'right class': 0.2291, 'other classes': 0.8876}
    """

    temperature: float = 4.0
    target_weight: float = 1.0
    other_weight: float = 8.0
    hard_weight: float = 0.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        check_temperature("Decoupled", self.temperature)
        check_weight("Decoupled.target_weight", self.target_weight)
        check_weight("Decoupled.other_weight", self.other_weight)
        check_share("Decoupled", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `right class`, `other classes` and, where labels have a share, `labels`.

        Raises:
            DataError: there are no labels, or they are out of range.
        """
        if lesson.labels is None:
            raise DataError(
                "Decoupled: a batch has no labels, and this loss needs them. Use SoftLabels without labels."
            )
        check_range(lesson.student, lesson.labels)
        rows = answers(lesson, "Decoupled", self.class_axis)
        right, others = self._split(rows, lesson.labels.flatten())
        terms = {
            "right class": weighted(right, self.target_weight),
            "other classes": weighted(others, self.other_weight),
        }
        return lesson.mix(terms, self.hard_weight)

    def _split(self, rows: Answers, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = [x / self.temperature for x in (rows.student, rows.teacher)]
        known = labels.masked_fill(labels == IGNORED_LABEL, 0).long()[:, None]
        others = [x.scatter(-1, known, FAR_BELOW) for x in logits]
        # As two logits, the right class against the sum of the others; their softmax is b.
        binary = [
            torch.cat([x.gather(-1, known), other.logsumexp(-1, keepdim=True)], dim=-1)
            for x, other in zip(logits, others, strict=True)
        ]
        scale = self.temperature**2
        return rows.mean(divergence(*binary)) * scale, rows.mean(divergence(*others)) * scale
