"""Class-wise self-distillation (CS-KD): samples of one class are to be answered alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import DataError
from laconic.core.metric import IGNORED_LABEL
from laconic.distill.answers import divergence
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class ClassConsistency(DistillationLoss):
    """Soft labels from the student's own answer to another sample of the class: `T^2 mean KL(p(x') || p(x))`.

    `x'` is the next sample of the batch with the same label, after the last the first; no gradient flows through its
    answer. Samples that are alone do not count: batches should have several of each class. No teacher is asked:
    `train(model, task, training, objective=without_teacher(task, Sum(losses=(Labels(), ClassConsistency()))))`.

    Args:
        temperature: T, positive.
        hard_weight: share of the loss on labels, in [0, 1].

    Guarantees:
        A student that answers all samples of a class alike has no loss and no gradient.

    Reference:
        Yun, Park, Lee, Shin, 2020, arXiv:2003.13964, equation 1; there pairs are drawn by the loader.

    Example:
        >>> answers = torch.tensor([[2.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
        >>> lesson = Lesson(student=answers, teacher=answers, labels=torch.tensor([0, 0, 1]))
        >>> {name: round(term.item(), 4) for name, term in ClassConsistency(temperature=1).terms(lesson).items()}
        {'class consistency': 0.3808}
    """

    temperature: float = 4.0
    hard_weight: float = 0.0

    def __post_init__(self) -> None:
        check_temperature("ClassConsistency", self.temperature)
        check_share("ClassConsistency", self.hard_weight)

    @property
    def aligned(self) -> bool:
        """The teacher is not asked."""
        return False

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `class consistency` and, where labels have a share, `labels`.

        Raises:
            DataError: not one label a sample.
        """
        labels, logits = lesson.labels, lesson.student
        if labels is None or logits.dim() != 2 or labels.shape != logits.shape[:1]:
            shown = None if labels is None else list(labels.shape)
            raise DataError(
                f"ClassConsistency: got labels {shown} for logits {list(logits.shape)}; expected one class a sample."
            )
        partner, counts = _partners(labels)
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature
        nats = divergence(exact, exact.detach()[partner])
        mean = nats.where(counts, 0).sum() / counts.sum().clamp(min=1)
        return lesson.mix({"class consistency": mean * self.temperature**2}, self.hard_weight)


def _partners(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the next sample of each one's class, `[samples]`, and which have one."""
    positions = torch.arange(len(labels), device=labels.device)
    ahead = (positions[None, :] - positions[:, None]) % len(labels)
    others = (labels[:, None] == labels[None, :]) & (ahead > 0)
    partner = ahead.where(others, len(labels)).argmin(1)
    return partner, others.any(1) & (labels != IGNORED_LABEL)
