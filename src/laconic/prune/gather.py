"""Reads the data once for what a criterion asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from laconic.calibrate import Evidence, calibrate
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.graph.axes import Axes
from laconic.graph.example import fitting
from laconic.prune.importance import Importance, Known, activity, slopes

Inputs = list[tuple[tuple[Any, ...], Mapping[str, Any]]]


def gather(
    model: nn.Module, axes: Axes, importance: Importance, task: Task | None, *, samples: int, evidence: Evidence | None
) -> Known:
    """Returns what a criterion needs, and nothing else.

    Args:
        model: what `axes` analyses; left as it was.
        axes: its analysis.
        importance: the criterion.
        task: its `calibrate` data is read.
        samples: at most so many are read.
        evidence: of an earlier `calibrate`; saves the pass.

    Raises:
        UsageError: something is needed, and there is no task.
    """
    tensors = axes.graph.tensors
    if importance.needs is None:
        return Known(tensors=tensors)
    if importance.needs == "evidence" and evidence is not None:
        return Known(tensors=tensors, evidence=evidence)
    if task is None:
        raise UsageError(
            f"prune.importance: {type(importance).__name__} needs data, got example inputs; expected a Task. Pass "
            "laconic.Task(evaluate=loader), or importance=Magnitude()."
        )
    if importance.needs == "evidence":
        return Known(tensors=tensors, evidence=calibrate(model, task, samples=samples, activations=False))
    if importance.needs == "slopes":
        return Known(tensors=tensors, slopes=slopes(model, axes, task, samples=samples))
    return Known(tensors=tensors, activity=activity(axes, inputs_of(axes, task, samples)))


def inputs_of(axes: Axes, task: Task, samples: int) -> Inputs:
    """Returns the calibration inputs, on the model's device, in batches that the captured model accepts."""
    device = next(iter(axes.graph.parameters.values())).device
    read = fitting(axes.graph, list(task.batches("calibrate", device=device, limit=samples)))
    return [(batch.args, batch.kwargs) for batch in read]
