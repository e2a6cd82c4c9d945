"""Learning from a teacher as an objective: who is asked what, and what is heard inside both meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss, Lesson, Match, Matched, Pair, Site, overhear
from laconic.train.describe import describe
from laconic.train.objective import Moment, Objective, unwrapped

TEACHER_LABELS = "teacher_labels"
"""The input that says which of the teacher's positions count, where they are not the student's."""


def distillation(
    teacher: nn.Module,
    task: Task,
    loss: DistillationLoss,
    match: Sequence[Match] = (),
    *,
    teacher_task: Task | None = None,
) -> Objective:
    """Returns the objective of learning from a teacher; labels are used where they are and the loss wants them.

    The teacher answers in eval mode, without gradients and in its own precision.

    Args:
        teacher: left as it is.
        task: how both models are called.
        loss: on their answers.
        match: what else is to be alike, inside them.
        teacher_task: how the teacher is called (`call`, `logits`) where it reads other inputs; None: as the student.
    """
    school = School(teacher=teacher, task=task, match=tuple(match), teacher_task=teacher_task, aligned=loss.aligned)

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
    match: tuple[Match, ...] = ()
    teacher_task: Task | None = None
    aligned: bool = True

    def lesson(self, model: nn.Module, batch: Batch, moment: Moment) -> Lesson:
        """Returns what teacher and student say to a batch."""
        with torch.no_grad():
            task = self.teacher_task or self.task
            answer, theirs = _ask(task, self.teacher, batch, [site for match in self.match for site in match.teachers])
        given, ours = _ask(self.task, model, batch, [site for match in self.match for site in match.students])
        mask = position_mask(batch)
        heard = iter([Pair(student=s, teacher=t, mask=mask) for s, t in zip(ours, theirs, strict=True)])
        features = tuple(_joined([next(heard) for _ in match.students]) for match in self.match)
        return lesson_of(
            self.task, batch, moment, student=given, teacher=answer, features=features, aligned=self.aligned
        )


def _ask(task: Task, model: nn.Module, batch: Batch, sites: Sequence[str]) -> tuple[Tensor, tuple[Tensor, ...]]:
    return overhear(lambda: task.forward(model, batch), unwrapped(model), [Site.parse(site) for site in sites])


def _joined(pairs: Sequence[Pair]) -> Pair:
    """Returns the features of one match, which has one layer or two."""
    return pairs[0] if len(pairs) == 1 else replace(pairs[0], following=pairs[1])


def lesson_of(
    task: Task,
    batch: Batch,
    moment: Moment,
    *,
    student: Tensor,
    teacher: Tensor,
    features: tuple[Pair, ...] = (),
    aligned: bool = True,
) -> Lesson:
    """Returns the lesson of two answers to a batch."""
    return Lesson(
        student=student,
        teacher=teacher,
        labels=batch.labels,
        criterion=task.criterion,
        features=features,
        progress=moment.progress,
        aligned=aligned,
        teacher_labels=batch.kwargs.get(TEACHER_LABELS),
    )


def position_mask(batch: Batch) -> Tensor | None:
    """Returns which positions count: the input named `attention_mask`, as `transformers` calls it, or None."""
    mask = batch.kwargs.get("attention_mask")
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
