"""Which layers are matched, how, and how much that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final, get_args

from torch import nn

from laconic.core.errors import invalid
from laconic.distill.feature import FeatureLoss, LearnedLoss, misfit
from laconic.distill.pair import Pair
from laconic.distill.ramp import Factor
from laconic.distill.site import Site

Projection = Literal["linear", "conv"]
HINT = "Choose layers of like shape, or a loss that compares samples with samples, such as SimilarityPreserving()."


@final
@dataclass(frozen=True, kw_only=True)
class Match:
    """Makes a layer of the student like a layer of the teacher.

    A layer is named by its module's path, as `named_modules` gives it; `"fc:input"` is what goes into a module, and
    `"attention[1]"` or `"encoder[hidden_states]"` one entry of an output that is a tuple, a dict or an object.

    Args:
        teacher: layer of the teacher; or several, from first to last, for a loss that takes them: two for what happens
            in between (`Flow`), any number for `Review` and `AttendedLayers`.
        student: layer of the student; or as many; or one that is compared with several of the teacher.
        loss: how the two are compared, such as `SameFeatures()`.
        weight: factor on the loss, positive.
        schedule: a further factor over the run, such as `Ramp(start=1, end=0)`; None: 1.
        projection: what joins layers of different width: `"linear"` maps the last dimension, `"conv"` the channels in
            dimension 1 by a kernel of one pixel. It is trained along with the student and then thrown away.
        balance: divide the loss by what it is before the first step, so that `weight` does not depend on the scale of
            features or on the kind of loss.

    Example:
        >>> from laconic.distill import SameFeatures
        >>> print(Match(teacher="encoder.layer.8", student="encoder.layer.2", loss=SameFeatures()))
        SameFeatures encoder.layer.8 -> encoder.layer.2
    """

    teacher: str | tuple[str, ...]
    student: str | tuple[str, ...]
    loss: FeatureLoss | LearnedLoss
    weight: float = 1.0
    schedule: Factor | None = None
    projection: Projection | None = None
    balance: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise invalid("Match.weight", self.weight, "a positive number", "Leave out a match that shall not count.")
        if self.projection not in (None, *get_args(Projection)):
            raise invalid("Match.projection", self.projection, "None, 'linear' or 'conv'")
        if not isinstance(self.loss, FeatureLoss | LearnedLoss):
            raise invalid("Match.loss", self.loss, "a loss on features, such as SameFeatures()")
        for site in (*self.teachers, *self.students):
            Site.parse(site)
        if not self.loss.takes(len(self.teachers), len(self.students)):
            raise invalid(
                "Match", (self.teacher, self.student), f"{self.loss.layers}, as {type(self.loss).__name__} takes them"
            )

    def __str__(self) -> str:
        return f"{type(self.loss).__name__} {', '.join(self.teachers)} -> {', '.join(self.students)}"

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teacher's layers, usually one."""
        return (self.teacher,) if isinstance(self.teacher, str) else tuple(self.teacher)

    @property
    def students(self) -> tuple[str, ...]:
        """The student's layers, usually one."""
        return (self.student,) if isinstance(self.student, str) else tuple(self.student)

    def factor(self, progress: float) -> float:
        """Returns the weight when `progress`, a share of the run, is done."""
        return self.weight * (1.0 if self.schedule is None else self.schedule(progress))

    def project(self, pair: Pair) -> nn.Module:
        """Returns a new module that gives the student's features the teacher's width.

        Raises:
            UsageError: no projection of this kind joins the shapes.
        """
        ours, theirs = pair.student.shape, pair.teacher.shape
        if self.projection is None:
            return nn.Identity()
        if self.projection == "linear":
            if len(ours) != len(theirs) or ours[1:-1] != theirs[1:-1]:
                raise misfit(pair, str(self), "shapes that differ in the last dimension only", HINT)
            return nn.Linear(ours[-1], theirs[-1]).to(pair.student)
        if len(ours) != len(theirs) or not 3 <= len(ours) <= 5:
            raise misfit(pair, str(self), "[samples, channels, ...] with one to three dimensions more", HINT)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(ours) - 3]
        return convolution(ours[1], theirs[1], 1).to(pair.student)
