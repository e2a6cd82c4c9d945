"""`laconic distill`: a student learns from a teacher, and both are scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from laconic.cli.listen import Terminal
from laconic.core.task import Task
from laconic.distill import DistillationLoss, SoftLabels, SquaredError
from laconic.measure import answers, evaluate
from laconic.measure.runner import TorchRunner
from laconic.train import Training, distill


def teach(
    teacher: nn.Module,
    student: nn.Module,
    task: Task,
    *,
    training: Training,
    temperature: float,
    hard_weight: float,
    work: Path | None,
    listener: Terminal,
) -> tuple[nn.Module, dict[str, dict[str, Any]]]:
    """Returns the trained student, and the scores of teacher and student on the evaluation data."""
    matched: DistillationLoss = SoftLabels(temperature=temperature, hard_weight=hard_weight)
    if task.score.regression:
        matched = SquaredError(hard_weight=hard_weight)

    def listen(step: int, total: int, loss: float) -> None:
        listener.step(step, total, f"loss {loss:.4f}")

    listener.begin("distill")
    try:
        trained = distill(teacher, student, task, loss=matched, training=training, work=work, progress=listen)
    finally:
        listener.end()
    return trained, {"teacher": score(teacher, task), "student": score(trained, task)}


def score(model: nn.Module, task: Task) -> dict[str, Any]:
    """Returns a model's score on the evaluation data, as JSON values."""
    found = evaluate(answers(TorchRunner(model, task), task), task.score)
    return {"metric": found.metric, "value": found.value, "predictions": found.predictions}


def scores(task: Task, models: Mapping[str, nn.Module]) -> dict[str, dict[str, Any]]:
    """Returns each model's `score`; nothing where the evaluation data has no labels."""
    if next(task.batches("evaluate", limit=1)).labels is None:
        return {}
    return {name: score(model, task) for name, model in models.items()}
