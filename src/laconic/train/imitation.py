"""Learning from a teacher as an objective: who is asked what, and what is heard inside both meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss, Lesson, Match, Matched, Pair, Site, overhear
from laconic.train.describe import describe
from laconic.train.objective import Moment, Objective


def distillation(teacher: nn.Module, task: Task, loss: DistillationLoss, match: Sequence[Match] = ()) -> Objective:
    """Returns the objective of learning from a teacher; labels are used where they are and the loss wants them.

    The teacher answers in eval mode, without gradients and in its own precision.

    Args:
        teacher: left as it is.
        task: how both models are called.
        loss: on their answers.
        match: what else is to be alike, inside them.
    """
    school = School(teacher=teacher, task=task, match=tuple(match))

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        with torch.no_grad():
            return Matched(match, school.lesson(model, batch, Moment()).features)

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        lesson = school.lesson(model, batch, moment)
        terms = loss.terms(lesson)
        return terms if moment.parts is None else {**terms, **moment.parts(lesson.features, moment.progress)}

    name = "distillation with " + ", ".join(map(describe, (loss, *match)))
    return Objective(terms=terms, name=name, teachers=(teacher,), parts=parts if match else None)


@dataclass(frozen=True, kw_only=True)
class School:
    """A teacher, and where one listens inside it and its student."""

    teacher: nn.Module
    task: Task
    match: tuple[Match, ...]

    def lesson(self, model: nn.Module, batch: Batch, moment: Moment) -> Lesson:
        """Returns what teacher and student say to a batch."""
        with torch.no_grad():
            answer, theirs = self._ask(self.teacher, batch, [match.teacher for match in self.match])
        given, ours = self._ask(model, batch, [match.student for match in self.match])
        mask = position_mask(batch)
        features = tuple(Pair(student=s, teacher=t, mask=mask) for s, t in zip(ours, theirs, strict=True))
        return lesson_of(self.task, batch, moment, student=given, teacher=answer, features=features)

    def _ask(self, model: nn.Module, batch: Batch, sites: Sequence[str]) -> tuple[Tensor, tuple[Tensor, ...]]:
        inside = model.module if isinstance(model, DistributedDataParallel) else model
        return overhear(lambda: self.task.forward(model, batch), inside, [Site.parse(site) for site in sites])


def lesson_of(
    task: Task, batch: Batch, moment: Moment, *, student: Tensor, teacher: Tensor, features: tuple[Pair, ...] = ()
) -> Lesson:
    """Returns the lesson of two answers to a batch."""
    return Lesson(
        student=student,
        teacher=teacher,
        labels=batch.labels,
        criterion=task.criterion,
        features=features,
        progress=moment.progress,
    )


def position_mask(batch: Batch) -> Tensor | None:
    """Returns which positions count: the input named `attention_mask`, as `transformers` calls it, or None."""
    mask = batch.kwargs.get("attention_mask")
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
