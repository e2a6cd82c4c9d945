"""`laconic distill`: a student learns from a teacher, and both are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from laconic.cli.listen import Terminal
from laconic.cli.load import load_model, load_task
from laconic.cli.recipe import Recipe
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import DistillationLoss, Match, SoftLabels, SquaredError, student
from laconic.distill.augment import Augmentation
from laconic.measure import answers, evaluate
from laconic.measure.runner import TorchRunner
from laconic.prune import Pruned
from laconic.train import Training, cached_teacher, distill, distill_through_assistants


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """How a student is taught: what a recipe says, or the options of the command; and how it was derived, if it was."""

    training: Training
    loss: DistillationLoss | None = None
    match: Literal["auto"] | tuple[Match, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    assistants: int = 0
    cache: Path | None = None
    work: Path | None = None
    derived: Pruned | None = None


def soft_labels(task: Task, temperature: float, hard_weight: float) -> DistillationLoss:
    """Returns the loss that the command's own options describe."""
    if task.score.regression:
        return SquaredError(hard_weight=hard_weight)
    return SoftLabels(temperature=temperature, hard_weight=hard_weight)


def followed(recipe: Recipe) -> tuple[nn.Module, nn.Module, Task, Lessons]:
    """Returns teacher, student, task and lessons of a recipe.

    Raises:
        UsageError: what is named does not exist, or does not go together.
    """
    task = load_task(recipe.data, metric=recipe.metric, batch_size=recipe.batch_size)
    teacher = load_model(recipe.teacher, _path(recipe.teacher_weights))
    learner, derived = _student(recipe, teacher, task)
    if recipe.assistants and (recipe.match or recipe.augment):
        raise UsageError("recipe: got assistants beside match or augment; expected one of them. Leave one out.")
    if recipe.cache is not None and (recipe.match or recipe.augment or recipe.assistants):
        raise UsageError(
            "recipe: got cache beside match, augment or assistants; expected it alone. Answers on disk are of samples "
            "as they are, and have no layers."
        )
    lessons = Lessons(
        training=recipe.training,
        loss=recipe.loss,
        match=recipe.match,
        augment=recipe.augment,
        assistants=recipe.assistants,
        cache=_path(recipe.cache),
        work=_path(recipe.work),
        derived=derived,
    )
    return teacher, learner, task, lessons


def teach(
    teacher: nn.Module, learner: nn.Module, task: Task, lessons: Lessons, listener: Terminal
) -> tuple[nn.Module, dict[str, dict[str, Any]]]:
    """Returns the trained student, and the scores of teacher and student on the evaluation data."""

    def listen(step: int, total: int, loss: float) -> None:
        listener.step(step, total, f"loss {loss:.4f}")

    told: dict[str, Any] = {
        "loss": lessons.loss,
        "training": lessons.training,
        "work": lessons.work,
        "progress": listen,
    }
    listener.begin("distill")
    try:
        if lessons.assistants:
            distill_through_assistants(teacher, learner, task, assistants=lessons.assistants, **told)
        else:
            source = teacher if lessons.cache is None else cached_teacher(teacher, task, lessons.cache)
            distill(source, learner, task, match=lessons.match, augment=lessons.augment, **told)
    finally:
        listener.end()
    return learner, {"teacher": score(teacher, task), "student": score(learner, task)}


def score(model: nn.Module, task: Task) -> dict[str, Any]:
    """Returns a model's score on the evaluation data, as JSON values."""
    found = evaluate(answers(TorchRunner(model, task), task), task.score)
    return {"metric": found.metric, "value": found.value, "predictions": found.predictions}


def scores(task: Task, models: Mapping[str, nn.Module]) -> dict[str, dict[str, Any]]:
    """Returns each model's `score`; nothing where the evaluation data has no labels."""
    if next(task.batches("evaluate", limit=1)).labels is None:
        return {}
    return {name: score(model, task) for name, model in models.items()}


def _student(recipe: Recipe, teacher: nn.Module, task: Task) -> tuple[nn.Module, Pruned | None]:
    if isinstance(recipe.student, str):
        return load_model(recipe.student, _path(recipe.student_weights)), None
    if recipe.student_weights is not None:
        raise UsageError("recipe: student_weights: got a checkpoint for a derived student; expected none.")
    derived = student(teacher, task, **vars(recipe.student))
    return derived.model, derived


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
