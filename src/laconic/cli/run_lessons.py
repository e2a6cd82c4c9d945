"""One student, taught as its lessons say."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import nn

from laconic.cli.lessons import Lessons
from laconic.cli.methods import BornAgain
from laconic.cli.students import Sklearn
from laconic.core.task import Task
from laconic.train import (
    Adapting,
    Objective,
    Progress,
    Repeated,
    Trained,
    Validation,
    augmented,
    balanced,
    cached_teacher,
    compiled,
    distill_through_assistants,
    freezing,
    held_back,
    train,
)


def run_lessons(teacher: nn.Module, learner: nn.Module, task: Task, lessons: Lessons, progress: Progress) -> Trained:
    """Returns the trained student, and how it went.

    Raises:
        UsageError: what the lessons name does not go together, or does not fit the models.
    """
    if lessons.assistants:
        chain = distill_through_assistants(
            teacher, learner, task, assistants=lessons.assistants, loss=lessons.loss, training=lessons.training,
            work=lessons.work, progress=progress,
        )  # fmt: skip
        return Trained(model=chain.model, steps=0, resumed_at=0, losses={})
    if isinstance(lessons.other, Sklearn):
        return Trained(model=lessons.other.taught(teacher, task), steps=0, resumed_at=0, losses={})
    setting = lessons.setting(teacher, learner, task)
    if isinstance(lessons.method, BornAgain):
        model = lessons.method.taught(setting, lessons.training, lessons.work)
        return Trained(model=model, steps=0, resumed_at=0, losses={})
    validation = None
    if lessons.validation is not None:
        wanted = vars(lessons.validation)
        task, batches = held_back(task, wanted["share"], seed=lessons.training.seed)
        validation = Validation(batches=batches, **{name: value for name, value in wanted.items() if name != "share"})
    if lessons.compiled:
        teacher = compiled(teacher, lessons.teacher_task or task)
    if lessons.cache is not None:
        repeated = next((a for a in lessons.augment if isinstance(a, Repeated)), None)
        teacher = cached_teacher(teacher, task, augment=repeated, **vars(lessons.cache))
    setting = replace(setting, task=task, teacher=teacher)
    data, objective = (task, setting.objective()) if lessons.method is None else lessons.method.prepare(setting)
    objective, callbacks = _changed(objective, task, lessons)
    return train(
        learner, data, lessons.training, objective=objective, work=lessons.work, progress=progress,
        validation=validation, callbacks=callbacks, trackers=lessons.trackers,
    )  # fmt: skip


def _changed(objective: Objective, task: Task, lessons: Lessons) -> tuple[Objective, list[Adapting]]:
    """Returns the objective with balance, augmentation, freezing and knobs, and what turns them."""
    if lessons.balance:
        objective = balanced(objective, *(lessons.balance if isinstance(lessons.balance, tuple) else ()))
    objective = augmented(objective, *lessons.augment)
    if lessons.freeze:
        objective = freezing(objective, {name: cast(float, span) for name, span in lessons.freeze.items()})
    if not lessons.rules:
        return objective, []
    adapting = Adapting(given=objective, task=task, rules=lessons.rules)
    return adapting.objective, [adapting]
