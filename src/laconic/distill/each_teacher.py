"""Several teachers, each of which counts for a sample as much as it can be trusted there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final, get_args

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from laconic.core.errors import ModelError, invalid
from laconic.core.metric import IGNORED_LABEL
from laconic.distill.domain import check_temperature
from laconic.distill.ensemble import mixture
from laconic.distill.lesson import DistillationLoss, Lesson, one_class_each

Trust = Literal["entropy", "confidence"]


@final
@dataclass(frozen=True, kw_only=True)
class EachTeacher(DistillationLoss):
    """Any loss on answers, with several teachers whose softened probabilities are mixed sample by sample.

    `w_k = softmax_k(-H(p_k))` by entropy: a teacher that is sure counts more; no labels are needed. By confidence
    `w_k = (1 - softmax_k(L_k)) / (teachers - 1)`, `L_k` the cross-entropy of teacher k on the label: one that is right
    counts more. The teacher's answers are those of `Ensemble(members, mixed=False)`, side by side.

    For layers, `Match(teacher=("members.0.layer3", "members.1.layer3"), student="layer3", loss=AttendedLayers())`
    learns whom to follow, sample by sample.

    Args:
        loss: on the student's answer and the mixture, such as `SoftLabels(temperature=4)`.
        by: `"entropy"` or `"confidence"`.
        temperature: at which probabilities are mixed; that of the loss.
        class_axis: the class dimension of the student's logits.

    Guarantees:
        The weights of a sample are positive and sum to 1.
        Teachers that agree are one teacher.

    Reference:
        By confidence: Zhang, Chen, Wang, 2022, arXiv:2201.00007 (CA-MKD), equation 3. By entropy: the rate of Kwon, Na,
        Lee, Kim, 2020, ICASSP, here as a softmax.

    Example:
        >>> from laconic.distill import SoftLabels
        >>> sure, unsure = [4.0, 0.0], [0.1, 0.0]
        >>> lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.tensor([[sure, unsure]]), aligned=False)
        >>> EachTeacher(loss=SoftLabels(temperature=1)).weights(lesson)
        tensor([[0.6461, 0.3539]])
    """

    loss: DistillationLoss
    by: Trust = "entropy"
    temperature: float = 1.0
    class_axis: int = -1

    def __post_init__(self) -> None:
        check_temperature("EachTeacher", self.temperature)
        if self.by not in get_args(Trust):
            raise invalid("EachTeacher.by", self.by, "'entropy' or 'confidence'")

    @property
    def aligned(self) -> bool:
        """The teachers' answers have one dimension more; their shape is checked here."""
        return False

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of the loss.

        Raises:
            ModelError: the teachers' answers are not side by side, or of another shape than the student's.
            DataError: by confidence, without labels of one class for each position.
        """
        answers = self._answers(lesson)
        mixed = mixture(answers, self.weights(lesson).movedim(-1, 0)[..., None], self.temperature, -1)
        aligned = self.loss.aligned
        return self.loss.terms(replace(lesson, teacher=mixed.movedim(-1, self.class_axis), aligned=aligned))

    def weights(self, lesson: Lesson) -> Tensor:
        """Returns how much each teacher counts, `[samples, ..., teachers]`."""
        answers = self._answers(lesson)
        logs = log_softmax(answers, dim=-1)
        if self.by == "entropy":
            return (logs.exp() * logs).sum(-1).softmax(0).movedim(0, -1)
        labels = one_class_each("EachTeacher", answers[0], lesson.labels, "Yield (x, y), or weigh by='entropy'.")
        if len(answers) == 1:
            return torch.ones_like(labels, dtype=logs.dtype)[..., None]
        counted = labels.where(labels != IGNORED_LABEL, 0).long()
        losses = -logs.gather(-1, counted.expand(logs.shape[:-1])[..., None])[..., 0]
        return ((1 - losses.softmax(0)) / (len(answers) - 1)).movedim(0, -1)

    def _answers(self, lesson: Lesson) -> Tensor:
        """Returns the teachers' logits, `[teachers, samples, ..., classes]`."""
        given, wanted = lesson.teacher, list(lesson.student.shape)
        if given.dim() != len(wanted) + 1 or [given.shape[0], *given.shape[2:]] != wanted:
            raise ModelError(
                f"EachTeacher: the teachers answer in shape {list(given.shape)}, the student in {wanted}; expected "
                f"{[wanted[0], 'teachers', *wanted[1:]]}. Give it Ensemble(teachers, mixed=False) as the teacher."
            )
        axis = self.class_axis % len(wanted)
        return given.movedim(1, 0).movedim(axis + 1, -1)
