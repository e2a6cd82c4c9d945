"""`laconic distill`: a student learns from a teacher, and both are scored."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from laconic.cli.follow import follow
from laconic.cli.lessons import Lessons
from laconic.cli.listen import Terminal
from laconic.cli.methods import Setting
from laconic.cli.recipe import Recipe
from laconic.cli.run_lessons import run_lessons
from laconic.cli.search_recipe import searched
from laconic.cli.students import TableModel, Tree
from laconic.core.files import write_bytes, write_tensors, write_text
from laconic.core.task import Task
from laconic.distill import DistillationLoss, Ensemble, SoftLabels, SoftTree, SquaredError
from laconic.measure import answers, evaluate
from laconic.measure.runner import TorchRunner
from laconic.train import Trained

__all__ = ["Lessons", "delivered", "followed", "judged", "score", "scores", "soft_labels", "teach"]


def soft_labels(task: Task, temperature: float, hard_weight: float) -> DistillationLoss:
    """Returns the loss that the command's own options describe."""
    if task.score.regression:
        return SquaredError(hard_weight=hard_weight)
    return SoftLabels(temperature=temperature, hard_weight=hard_weight)


def followed(recipe: Recipe) -> tuple[nn.Module, nn.Module, Task, Lessons]:
    """Returns teacher, student, task and lessons of a recipe, whose numbers have been searched if it says so.

    Raises:
        UsageError: what is named does not exist, or does not go together.
    """
    return follow(searched(recipe))


def teach(teacher: nn.Module, learner: nn.Module, task: Task, lessons: Lessons, listener: Terminal) -> Trained:
    """Returns the run of the student."""

    def listen(step: int, total: int, loss: float) -> None:
        listener.step(step, total, f"loss {loss:.4f}")

    listener.begin("distill")
    try:
        return run_lessons(teacher, learner, task, lessons, listen)
    finally:
        listener.end()


def judged(teacher: nn.Module, student: nn.Module, task: Task, lessons: Lessons) -> dict[str, dict[str, Any]]:
    """Returns the scores of teacher and student on the evaluation data; nothing where it has no labels."""
    found: dict[str, dict[str, Any]] = {}
    for name, part in (lessons.parts or {"": lessons.setting(teacher, student, task)}).items():
        of = f" of {name}" * bool(name)
        judge = part.teacher
        if isinstance(judge, Ensemble) and not judge.mixed:
            judge = Ensemble(list(judge.members), logits=task.logits)
        found |= scores(_asked(part), {f"teacher{of}": judge}) | scores(part.task, {f"student{of}": student})
    return found


def delivered(student: nn.Module, out: Path, lessons: Lessons) -> tuple[Path, str]:
    """Writes a student down; returns where it is, and who reads it."""
    if isinstance(student, TableModel):
        write_bytes(out := out.with_suffix(".pickle"), pickle.dumps(student.found))
        return out, "; pickle reads it, with the scikit-learn that it was made with: open only what you trust"
    if lessons.derived is not None:
        lessons.derived.save(out := out.with_suffix(""), model=student)
        return out, "; laconic.load_pruned reads it"
    write_tensors(out, student.state_dict())
    if isinstance(student, SoftTree) and isinstance(lessons.other, Tree) and lessons.other.picture is not None:
        write_text(picture := Path(lessons.other.picture), lessons.other.drawn(student))
        return out, f", its picture in {picture}"
    return out, ""


def _asked(part: Setting) -> Task:
    """Returns the task as the teacher is called."""
    own = part.teacher_task
    return part.task if own is None else replace(part.task, call=own.call, logits=own.logits)


def score(model: nn.Module, task: Task) -> dict[str, Any]:
    """Returns a model's score on the evaluation data, as JSON values."""
    found = evaluate(answers(TorchRunner(model, task), task), task.score)
    return {"metric": found.metric, "value": found.value, "predictions": found.predictions}


def scores(task: Task, models: Mapping[str, nn.Module]) -> dict[str, dict[str, Any]]:
    """Returns each model's `score`; nothing where the evaluation data has no labels."""
    if next(task.batches("evaluate", limit=1)).labels is None:
        return {}
    return {name: score(model, task) for name, model in models.items()}
