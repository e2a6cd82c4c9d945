"""A recipe, put into models, data and lessons."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from laconic.cli.lessons import Lessons
from laconic.cli.load import load_model, load_task
from laconic.cli.methods import BornAgain, Method, Setting, SeveralTasks, TreeGrowth
from laconic.cli.recipe import Cache, Part, Recipe, Together
from laconic.cli.students import Sklearn, TableModel, Tree
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import ByGap, EachTeacher, Ensemble, Knob, OnPlateau, Rule, fitted_weights, student, taking
from laconic.prune import Pruned
from laconic.train import JsonLines, Repeated


def follow(recipe: Recipe) -> tuple[nn.Module, nn.Module, Task, Lessons]:
    """Returns teacher, student, task and lessons of a recipe.

    Raises:
        UsageError: what is named does not exist, or does not go together.
    """
    _check(recipe)
    if recipe.tasks is not None:
        return _several_tasks(recipe, recipe.tasks)
    task = load_task(str(recipe.data), metric=recipe.metric, batch_size=recipe.batch_size)
    teacher_task = None
    if recipe.teacher_inputs:
        teacher_task = replace(task, call=taking(**recipe.teacher_inputs))
    if recipe.student_inputs:
        task = replace(task, call=taking(*recipe.student_inputs))
    teachers = _teachers(recipe)
    teacher = _as_one(teachers, recipe, teacher_task or task)
    learner, derived = _student(recipe, teacher, task)
    build = partial(load_model, recipe.student, None) if isinstance(recipe.student, str) else None
    build = build or partial(copy.deepcopy, learner)
    lessons = replace(_lessons(recipe), teachers=teachers, derived=derived, build=build, teacher_task=teacher_task)
    return teacher, learner, task, lessons


def _lessons(recipe: Recipe) -> Lessons:
    rules: dict[Knob, Rule] = {}
    return Lessons(
        training=recipe.training,
        loss=_knobbed(recipe.loss, rules),
        match=_knobbed(recipe.match, rules),
        augment=recipe.augment,
        assistants=recipe.assistants,
        cache=Cache(folder=recipe.cache) if isinstance(recipe.cache, str) else recipe.cache,
        compiled=recipe.compiled,
        work=_path(recipe.work),
        method=_method(recipe),
        freeze=recipe.freeze,
        balance=recipe.balance,
        rules=rules,
        validation=recipe.validation,
        trackers=tuple(t if isinstance(t, str) else JsonLines(t.path) for t in recipe.trackers),
        other=recipe.student if isinstance(recipe.student, Tree | Sklearn) else None,
    )


def _method(recipe: Recipe) -> Method | BornAgain | None:
    """Returns how the student is taught: a tree grows unless something else is said."""
    plain = recipe.method is None and recipe.loss is None and not recipe.match
    return TreeGrowth() if isinstance(recipe.student, Tree) and plain else recipe.method


def _check(recipe: Recipe) -> None:
    """Raises a `UsageError` for keys that do not go together."""
    given = {f.name for f in fields(recipe) if getattr(recipe, f.name)}
    asked = {
        "student: Sklearn": isinstance(recipe.student, Sklearn),
        "method: BornAgain": isinstance(recipe.method, BornAgain),
    }
    there = given | {name for name, is_so in asked.items() if is_so}
    there -= {"training"} - set(recipe.written)  # There is always some training; only what is written is refused.
    for name, others in _ALONE.items():
        if name in there and (beside := sorted(there & others)):
            raise UsageError(f"recipe: got {name} beside {beside[0]}; expected one of them. {_WHY[name]}")
    if recipe.cache and not all(isinstance(a, Repeated) for a in recipe.augment):
        raise UsageError(
            "recipe: got cache beside augment; expected Repeated around it, so that answers on disk are of what the "
            "student sees. Write augment: {Repeated: {augmentations: [...]}}."
        )
    if any(isinstance(t, str) for t in recipe.trackers) and recipe.work is None:
        raise UsageError("recipe: got trackers without work; expected a folder for what they write. Add work: run.")


_ALL = {
    "teacher_inputs",
    "match",
    "augment",
    "method",
    "tasks",
    "freeze",
    "balance",
    "validation",
    "assistants",
    "cache",
    "trackers",
    "compiled",
}
_ALONE: Mapping[str, set[str]] = {
    "cache": {"match", "assistants", "method", "tasks", "teacher_inputs"},
    "compiled": {"match", "cache", "method", "tasks"},
    "student: Sklearn": (_ALL - {"teacher_inputs"}) | {"loss", "training", "search", "student_weights", "work"},
    "method: BornAgain": {"match", "augment", "freeze", "balance", "validation", "trackers"},
    "assistants": _ALL - {"assistants"},
    "tasks": {"match", "method", "augment"},
    "teacher_inputs": {"method"},
}
_WHY = {
    "cache": "Answers on disk have no layers, and are of the task's own samples.",
    "compiled": "Layers of a compiled teacher cannot be heard, and one that is asked once need not be quick.",
    "student: Sklearn": "An estimator is fitted at once.",
    "method: BornAgain": "Each generation is taught the plain way.",
    "assistants": "Each of a chain of networks is taught the plain way.",
    "teacher_inputs": "A method asks both alike.",
    "tasks": "Each of the tasks has its own.",
}


def _several_tasks(recipe: Recipe, parts: Mapping[str, Part]) -> tuple[nn.Module, nn.Module, Task, Lessons]:
    if not isinstance(recipe.student, str):
        raise UsageError("recipe: student: got one that is made beside tasks; expected module:function.")
    learner = load_model(recipe.student, _path(recipe.student_weights))
    settings = {}
    for name, part in parts.items():
        teacher = load_model(part.teacher, _path(part.teacher_weights))
        settings[name] = Setting(
            teachers=(teacher,),
            teacher=teacher,
            student=learner,
            build=partial(copy.deepcopy, learner),
            task=load_task(part.data, metric=recipe.metric, batch_size=recipe.batch_size),
            teacher_task=Task(evaluate=()),
            loss=part.loss,
            match=part.match,
        )
    first = next(iter(settings.values()))
    method = SeveralTasks(parts=settings, tau=recipe.tau)
    return first.teacher, learner, first.task, replace(_lessons(recipe), method=method, parts=settings)


def _teachers(recipe: Recipe) -> tuple[nn.Module, ...]:
    names = (recipe.teacher,) if isinstance(recipe.teacher, str) else recipe.teacher
    weights = recipe.teacher_weights
    files = (weights,) if isinstance(weights, str) else weights or (None,) * len(names)
    if len(files) != len(names):
        raise UsageError(f"recipe: teacher_weights: got {len(files)} for {len(names)} teachers; expected one for each.")
    return tuple(load_model(name, _path(file)) for name, file in zip(names, files, strict=True))


def _as_one(teachers: tuple[nn.Module, ...], recipe: Recipe, task: Task) -> nn.Module:
    """Returns the teacher, or an ensemble of several."""
    together: Together = recipe.together
    if len(teachers) == 1:
        return teachers[0]
    if together.weights == "each sample":
        if not _holds(recipe.loss, EachTeacher):
            raise UsageError("recipe: together: got weights of each sample; expected the loss EachTeacher. Wrap yours.")
        return Ensemble(teachers, mixed=False, logits=task.logits)
    weights = fitted_weights(teachers, task) if together.weights == "learned" else together.weights
    return Ensemble(
        teachers,
        weights=None if isinstance(weights, str) else weights,
        temperature=together.temperature,
        regression=task.score.regression,
        logits=task.logits,
    )


def _holds(value: Any, kind: type) -> bool:
    """Returns whether a value is of a kind, or anything inside it."""
    if isinstance(value, tuple):
        return any(_holds(one, kind) for one in value)
    inside = [getattr(value, f.name) for f in fields(value)] if is_dataclass(value) else []
    return isinstance(value, kind) or any(_holds(one, kind) for one in inside)


def _knobbed(value: Any, rules: dict[Knob, Rule]) -> Any:
    """Returns a value with a knob in place of every rule that stands for a schedule, and notes the rule of each."""
    if isinstance(value, OnPlateau | ByGap):
        knob = Knob()
        rules[knob] = value
        return knob
    if isinstance(value, tuple):
        return tuple(_knobbed(one, rules) for one in value)
    if not is_dataclass(value) or isinstance(value, type) or not _holds(value, OnPlateau | ByGap):  # type: ignore[arg-type]
        return value
    return replace(value, **{f.name: _knobbed(getattr(value, f.name), rules) for f in fields(value) if f.init})


def _student(recipe: Recipe, teacher: nn.Module, task: Task) -> tuple[nn.Module, Pruned | None]:
    if isinstance(recipe.student, str):
        return load_model(recipe.student, _path(recipe.student_weights)), None
    if recipe.student_weights is not None:
        raise UsageError("recipe: student_weights: got a checkpoint for a student that is made; expected none.")
    if isinstance(recipe.student, Tree):
        return recipe.student.build(), None
    if isinstance(recipe.student, Sklearn):
        return TableModel(), None
    derived = student(teacher, task, **vars(recipe.student))
    return derived.model, derived


def _path(text: str | tuple[str, ...] | None) -> Path | None:
    return None if text is None else Path(str(text))
