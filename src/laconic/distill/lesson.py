"""What one batch gives to learn from, and the contract of everything that learns from a teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from laconic.core.errors import DataError, ModelError
from laconic.core.metric import IGNORED_LABEL, class_last
from laconic.core.task import cross_entropy
from laconic.distill.pair import Pair
from laconic.distill.weighing import weighted

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What student and teacher answered to one batch, and the truth where it is known.

    A loss that needs more gets it as a further field here, so that the losses which do not need it stay as they are.

    Args:
        student: the student's logits, or its outputs for a regression, `[samples, ...]`.
        teacher: the teacher's, of the same shape; no gradient flows into them.
        labels: the truth, or None where there is none.
        criterion: the task's loss on labels, `(logits, labels) -> scalar`.
        features: what was heard inside the two, one pair for each `Match` of the run.
        progress: share of the run that is done, in [0, 1): where schedules are.
        aligned: whether the two answer about the same positions and classes.
        teacher_labels: where they do not, -100 at the teacher's positions that do not count; None: all count.

    Raises:
        ModelError: student and teacher are aligned and do not answer in the same shape.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor | None = None
    criterion: Criterion = cross_entropy
    features: tuple[Pair, ...] = ()
    progress: float = 0.0
    aligned: bool = True
    teacher_labels: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "teacher", self.teacher.detach())
        if self.aligned and self.student.shape != self.teacher.shape:
            raise ModelError(
                f"distillation: the student answers in shape {list(self.student.shape)}, the teacher in "
                f"{list(self.teacher.shape)}; expected the same. Give both the same number of classes or outputs."
            )

    def mix(self, imitation: dict[str, Tensor], hard_weight: float) -> dict[str, Tensor]:
        """Mixes the loss on labels into terms of imitation, of which it then takes the share `hard_weight`.

        Without labels, or with a share of 0, the terms stay whole.
        """
        if self.labels is None or hard_weight == 0:
            return imitation
        softened = {name: weighted(term, 1 - hard_weight) for name, term in imitation.items()}
        return softened | {"labels": weighted(label_loss(self.student, self.labels, self.criterion), hard_weight)}


class DistillationLoss(ABC):
    """One way to learn from a teacher. Immutable; concrete losses are final."""

    @property
    def aligned(self) -> bool:
        """Whether student and teacher must answer about the same positions and classes."""
        return True

    @abstractmethod
    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the named terms of the loss, weighted scalars: the loss is their sum.

        Terms keep their names so that a loss that is not finite can be traced to the one that broke.
        """


def label_loss(logits: Tensor, labels: Tensor, criterion: Criterion) -> Tensor:
    """Returns `criterion(logits, labels)`.

    Raises:
        DataError: labels are out of range; the message says which were found and how many classes there are.
    """
    if labels.device.type != "cpu" and criterion is cross_entropy:
        check_range(logits, labels)  # On a GPU a wrong index ends the process instead of raising.
    try:
        return criterion(logits, labels)
    except IndexError:
        check_range(logits, labels)
        raise


def one_class_each(
    where: str,
    logits: Tensor,
    labels: Tensor | None,
    mend: str = "Yield (x, y), or say class_axis=1 for [n, c, ...].",
) -> Tensor:
    """Returns the labels, which are one class for each position.

    Args:
        where: the loss that asks.
        logits: `[..., classes]`.
        labels: `[...]`, -100 where a position does not count.
        mend: what to do where they are not.

    Raises:
        DataError: there are none, or they are of another shape or out of range.
    """
    if labels is None or labels.shape != logits.shape[:-1]:
        shown = None if labels is None else list(labels.shape)
        raise DataError(
            f"{where}: got labels {shown} for logits {list(logits.shape)}; expected one class for each position. {mend}"
        )
    check_range(logits.flatten(0, -2), labels.flatten())
    return labels


def check_range(logits: Tensor, labels: Tensor) -> None:
    """Raises a `DataError` if a label other than -100 is no class of the logits."""
    classes = class_last(logits, labels).shape[-1]
    counted = labels[labels != IGNORED_LABEL]
    if len(counted) == 0 or (counted.min() >= 0 and counted.max() < classes):
        return
    raise DataError(
        f"Task: labels from {int(counted.min())} to {int(counted.max())}, but the model has {classes} classes; "
        f"expected 0 to {classes - 1} ({IGNORED_LABEL} leaves a position out). Renumber the labels or widen the model."
    )
