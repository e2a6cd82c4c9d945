"""Several losses on answers at once, each with its weight, which may move over the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.domain import check_weight
from laconic.distill.lesson import DistillationLoss, Lesson
from laconic.distill.ramp import Factor
from laconic.distill.weighing import summed, weighted


@final
@dataclass(frozen=True, kw_only=True)
class Weighted(DistillationLoss):
    """`weight * schedule(progress) * loss`.

    Args:
        loss: any loss on answers.
        weight: a factor, 0 or more.
        schedule: a further factor over the run, such as `Ramp(start=1, end=0)`; None: 1.
    """

    loss: DistillationLoss
    weight: float = 1.0
    schedule: Factor | None = None

    def __post_init__(self) -> None:
        check_weight("Weighted.weight", self.weight)

    @property
    def aligned(self) -> bool:
        """As the loss needs it."""
        return self.loss.aligned

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of the loss, weighted."""
        factor = self.weight * (1.0 if self.schedule is None else self.schedule(lesson.progress))
        return {name: weighted(term, factor) for name, term in self.loss.terms(lesson).items()}


@final
@dataclass(frozen=True, kw_only=True)
class Sum(DistillationLoss):
    """The sum of several losses; terms of one name are added up.

    Args:
        losses: at least one.

    Example:
        >>> import torch
        >>> from laconic.distill import Labels, Ramp, SoftLabels
        >>> fading = Weighted(loss=SoftLabels(), schedule=Ramp(start=1, end=0))
        >>> lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.zeros(1, 2), labels=torch.tensor([0]))
        >>> Sum(losses=(fading, Labels())).terms(lesson)
        {'soft labels': tensor(0.), 'labels': tensor(0.6931)}
    """

    losses: tuple[DistillationLoss, ...]

    def __post_init__(self) -> None:
        if len(self.losses) == 0:
            raise invalid("Sum.losses", self.losses, "at least one loss")

    @property
    def aligned(self) -> bool:
        """Whether any of the losses needs it."""
        return any(loss.aligned for loss in self.losses)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of all losses."""
        terms: dict[str, Tensor] = {}
        for loss in self.losses:
            for name, term in loss.terms(lesson).items():
                terms[name] = summed([terms[name], term]) if name in terms else term
        return terms
