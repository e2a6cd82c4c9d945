"""Teacher and student with different vocabularies: how sure they are is compared, not of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from laconic.core.errors import DataError
from laconic.core.metric import IGNORED_LABEL
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class UniversalLogits(DistillationLoss):
    """Distance of the sorted probabilities of two models whose classes, and whose positions, do not correspond.

    `(1 - hard_weight) * mean(sum_i |p_(i) - q_(i)|) + hard_weight * criterion`

    with `p_(i)`, `q_(i)` the i-th largest probability of teacher and student at temperature T, 0 beyond the smaller
    vocabulary: the optimal transport cost between the two where moving any class to any other costs the same. The k-th
    position of a sample that counts is compared with the teacher's k-th; positions that only one of them has are left
    out, and the mean is over the others.

    Labels say which positions of the student count; those of the teacher are the batch's input `teacher_labels`, -100
    where a position does not count. Without them all do.

    Args:
        temperature: T, positive.
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        The order of the classes changes nothing, nor do classes that are all but impossible.

    Reference:
        Boizard, El Haddad, Hudelot, Colombo, 2024, arXiv:2402.12030, equation 6 (ULD).

    Example:
        >>> lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.zeros(1, 4), aligned=False)
        >>> UniversalLogits().terms(lesson)
        {'sorted probabilities': tensor(1.)}
    """

    temperature: float = 1.0
    hard_weight: float = 0.0

    def __post_init__(self) -> None:
        check_temperature("UniversalLogits", self.temperature)
        check_share("UniversalLogits", self.hard_weight)

    @property
    def aligned(self) -> bool:
        """Nothing has to correspond."""
        return False

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `sorted probabilities` and, where labels have a share, `labels`.

        Raises:
            DataError: answers that are no `[samples, (positions,) classes]`, or labels of another shape.
        """
        ours, we = _in_rows(self._sorted(lesson.student), lesson.labels, "labels")
        teacher_labels = lesson.labels if lesson.aligned else lesson.teacher_labels
        theirs, they = _in_rows(self._sorted(lesson.teacher), teacher_labels, "teacher_labels")
        both = (we & they) if we.shape == they.shape else _shorter(we, they)
        width = max(ours.shape[-1], theirs.shape[-1])
        ours, theirs = (pad(x[:, : both.shape[1]], (0, width - x.shape[-1])) for x in (ours, theirs))
        found = (ours - theirs).abs().sum(-1)
        mean = found.where(both, 0).sum() / both.sum().clamp(min=1)
        return lesson.mix({"sorted probabilities": mean}, self.hard_weight)

    def _sorted(self, logits: Tensor) -> Tensor:
        if logits.dim() not in (2, 3):
            raise DataError(
                f"UniversalLogits: got logits {list(logits.shape)}; expected [samples, positions, classes]."
            )
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        probabilities = (exact / self.temperature).softmax(-1).sort(dim=-1, descending=True).values
        return probabilities if logits.dim() == 3 else probabilities[:, None]


def _in_rows(values: Tensor, labels: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    """Returns `[samples, positions, classes]` with the positions that count first, and which these are."""
    if labels is None:
        return values, values.new_ones(values.shape[:2], dtype=torch.bool)
    if labels.numel() != values.shape[0] * values.shape[1]:
        raise DataError(
            f"UniversalLogits: got {name} {list(labels.shape)} for answers at {list(values.shape[:2])} samples and "
            "positions; expected one label for each. Labels have -100 where a position does not count."
        )
    counts = labels.view(values.shape[:2]) != IGNORED_LABEL
    order = counts.logical_not().long().sort(dim=1, stable=True).indices
    return values.gather(1, order[..., None].expand_as(values)), counts.gather(1, order)


def _shorter(one: Tensor, other: Tensor) -> Tensor:
    length = min(one.shape[1], other.shape[1])
    return one[:, :length] & other[:, :length]
