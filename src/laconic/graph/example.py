"""What a person passes as example inputs, as positional and named arguments of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from laconic.core.errors import invalid
from laconic.core.task import Task

EXAMPLES = 4
"""Samples that a task's model is captured on."""
Example = Task | Tensor | Sequence[Any] | Mapping[str, Any]


def example_inputs(data: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns positional and named inputs.

    Args:
        data: a task, whose first few calibration samples are taken; a tensor; a sequence of positional inputs; or a
            mapping of named ones.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> import torch
        >>> example_inputs({"x": torch.zeros(1, 2)})
        ((), {'x': tensor([[0., 0.]])})
    """
    match data:
        case Task():
            batch = next(data.batches("calibrate", limit=EXAMPLES))
            return batch.args, dict(batch.kwargs)
        case Tensor():
            return (data,), {}
        case Mapping():
            return (), dict(data)
        case str() | bytes():
            pass
        case Sequence():
            return tuple(data), {}
    raise invalid(
        "example inputs",
        data,
        "a Task, a tensor, a sequence of positional inputs or a dict of named ones",
        "Pass what you would pass to the model.",
    )
