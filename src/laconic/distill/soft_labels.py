"""Soft labels: learn the teacher's whole answer, not only its favourite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.distill.answers import answers, divergence
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson
from laconic.distill.ramp import Factor
from laconic.distill.sample_temperature import SampleTemperature


@final
@dataclass(frozen=True, kw_only=True)
class SoftLabels(DistillationLoss):
    """Matches the teacher's class probabilities, softened by a temperature.

    `(1 - hard_weight) * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + hard_weight * criterion`

    The divergence is in nats, averaged over positions; those whose label is -100 do not count. Without labels the soft
    term stands alone, with weight 1.

    Args:
        temperature: T, positive. Higher values weigh the small probabilities, in which the teacher says what a sample
            resembles besides what it is.
        hard_weight: share of the loss on labels, in [0, 1].
        class_axis: the logits' class dimension. None: where the labels' shape puts it (`[n, c, ...]` or `[n, ..., c]`);
            without labels only `[n, c]` is clear.
        schedule: a factor on the temperature over the run, such as `Ramp(start=1, end=0.25)`; None: 1.
        sample_temperature: gives each position a temperature of its own around that one: `FocalTemperature()` (FLSW) or
            `ConfidenceTemperature()` (CWSM); None: all have the same.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        Adding a constant to all logits of a position changes nothing.
        For large T the gradient does not depend on T: it tends to `(student - teacher) / classes`, both centred, over
        the number of positions.
        Positions with label -100 get no gradient.

    Reference:
        Hinton, Vinyals, Dean, 2015, arXiv:1503.02531, section 2.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[2.0, 0.0, -2.0]]), torch.zeros(1, 3)
        >>> terms = SoftLabels(temperature=2).terms(Lesson(student=student, teacher=teacher))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'soft labels': 1.0649}
    """

    temperature: float = 2.0
    hard_weight: float = 0.0
    class_axis: int | None = None
    schedule: Factor | None = None
    sample_temperature: SampleTemperature | None = None

    def __post_init__(self) -> None:
        check_temperature("SoftLabels", self.temperature)
        check_share("SoftLabels", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `soft labels` and, where labels have a share, `labels`.

        Raises:
            DataError: the class dimension is not clear, or labels are out of range.
        """
        rows = answers(lesson, "SoftLabels", self.class_axis)
        temperature = self.temperature * (1.0 if self.schedule is None else self.schedule(lesson.progress))
        if self.sample_temperature is None:
            nats = divergence(rows.student / temperature, rows.teacher / temperature)
            return lesson.mix({"soft labels": rows.mean(nats) * temperature**2}, self.hard_weight)
        each = self.sample_temperature(rows, temperature)[:, None]
        nats = divergence(rows.student / each, rows.teacher / each)
        return lesson.mix({"soft labels": rows.mean(nats * each[:, 0] ** 2)}, self.hard_weight)
