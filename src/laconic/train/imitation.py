"""Learning from a teacher as an objective: who is asked what, and what is heard inside both meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss, Lesson, Match, Matched, Pair, Site, overhear
from laconic.train.cached_teacher import CachedTeacher
from laconic.train.describe import describe
from laconic.train.objective import Moment, Objective, unwrapped
from laconic.train.sample_keys import sample_keys

TEACHER_LABELS = "teacher_labels"
"""The input that says which of the teacher's positions count, where they are not the student's."""
SAMPLE_IDS = "sample_ids"
"""The input that says which sample is which, where what is in it does not."""


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

    Raises:
        UsageError: a loss that is none on answers, a match that is none, or layers of a teacher that answers from disk.
    """
    check_lesson(teacher, loss, match)
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


def check_lesson(teacher: nn.Module, loss: object, match: object) -> None:
    """Raises a `UsageError` for a loss or matches of another kind, or layers of a teacher that has none."""
    if not isinstance(loss, DistillationLoss):
        mend = "Losses on layers go into match=[Match(loss=...)]."
        raise invalid("distill.loss", loss, "a loss on answers, such as SoftLabels()", mend)
    if not isinstance(match, Sequence) or not (isinstance(match, str) or all(isinstance(m, Match) for m in match)):
        raise invalid("distill.match", match, "a sequence of Match, 'auto' or 'learned'")
    if match and isinstance(teacher, CachedTeacher):
        raise invalid(
            "distill.match", match, "none for a CachedTeacher", "Answers on disk have no layers: ask the teacher."
        )


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
        told = _Told(mask=position_mask(batch), samples=self._samples(batch))
        first, second = iter(theirs), iter(ours)
        features = tuple(told.pair(match, first, second) for match in self.match)
        return lesson_of(
            self.task, batch, moment, student=given, teacher=answer, features=features, aligned=self.aligned
        )

    def _samples(self, batch: Batch) -> Tensor | None:
        return sample_ids(batch) if any(match.loss.by_sample for match in self.match) else None


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a batch says about its samples and positions."""

    mask: Tensor | None
    samples: Tensor | None

    def pair(self, match: Match, theirs: Iterator[Tensor], ours: Iterator[Tensor]) -> Pair:
        """Returns the features of one match, taken from what was heard in turn."""
        teachers, students = [next(theirs) for _ in match.teachers], [next(ours) for _ in match.students]
        if len(students) == 1:
            students *= len(teachers)
        pair: Pair | None = None
        for teacher, student in zip(reversed(teachers), reversed(students), strict=True):
            pair = Pair(student=student, teacher=teacher, mask=self.mask, samples=self.samples, following=pair)
        return cast(Pair, pair)


def _ask(task: Task, model: nn.Module, batch: Batch, sites: Sequence[str]) -> tuple[Tensor, tuple[Tensor, ...]]:
    return overhear(lambda: task.forward(model, batch), unwrapped(model), [Site.parse(site) for site in sites])


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


def sample_ids(batch: Batch) -> Tensor:
    """Returns what each sample is known by, int64 `[samples]`: the input `sample_ids`, or a digest of what is in it."""
    given = batch.kwargs.get(SAMPLE_IDS)
    if isinstance(given, Tensor):
        return given.flatten().long()
    keys = sample_keys(batch.args, batch.kwargs)[:, 0].copy()
    return torch.from_numpy(keys.view("int64")).to(batch.inputs[0].device)


def position_mask(batch: Batch) -> Tensor | None:
    """Returns which positions count: the input named `attention_mask`, as `transformers` calls it, or None."""
    mask = batch.kwargs.get("attention_mask")
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
