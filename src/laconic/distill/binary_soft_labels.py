"""Binary soft labels: for samples that may belong to several classes, or to none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.metric import IGNORED_LABEL
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class BinarySoftLabels(DistillationLoss):
    """Matches the teacher's probability of each class by itself, softened by a temperature.

    `(1 - hard_weight) * T^2 * mean(KL(B(sigmoid(teacher / T)) || B(sigmoid(student / T)))) + hard_weight * criterion`

    with `B(p)` a coin that shows heads with probability p. The mean is over all entries; those whose label is -100 do
    not count. The task's criterion must fit, such as
    `Task(loss=torch.nn.functional.binary_cross_entropy_with_logits)`.

    Args:
        temperature: T, positive.
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        For two classes `(z, 0)` the loss of one entry is that of soft labels.
        Entries with label -100 get no gradient.

    Reference:
        Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang, 2023, arXiv:2308.06453; temperature as in Hinton et
        al., 2015, arXiv:1503.02531.

    Example:
        >>> lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.tensor([[2.0, 0.0]]))
        >>> {name: round(term.item(), 4) for name, term in BinarySoftLabels(temperature=1).terms(lesson).items()}
        {'binary soft labels': 0.1639}
    """

    temperature: float = 2.0
    hard_weight: float = 0.0

    def __post_init__(self) -> None:
        check_temperature("BinarySoftLabels", self.temperature)
        check_share("BinarySoftLabels", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `binary soft labels` and, where labels have a share, `labels`."""
        nats, labels = self._divergence(lesson.student, lesson.teacher), lesson.labels
        if labels is None or labels.shape != nats.shape:
            mean = nats.mean()
        else:
            counts = labels != IGNORED_LABEL
            mean = nats.where(counts, 0).sum() / counts.sum().clamp(min=1)
        return lesson.mix({"binary soft labels": mean * self.temperature**2}, self.hard_weight)

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        exact = torch.promote_types(student.dtype, torch.float32)
        ours, theirs = student.to(exact) / self.temperature, teacher.to(exact) / self.temperature
        heads = functional.kl_div(
            functional.logsigmoid(ours), functional.logsigmoid(theirs), reduction="none", log_target=True
        )
        tails = functional.kl_div(
            functional.logsigmoid(-ours), functional.logsigmoid(-theirs), reduction="none", log_target=True
        )
        return heads + tails
