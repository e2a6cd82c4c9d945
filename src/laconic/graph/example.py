"""What a person passes as example inputs, as positional and named arguments of the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from laconic.core.errors import DataError, invalid
from laconic.core.task import Batch, Task
from laconic.graph.capture import Graph

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


def fitting(graph: Graph, batches: Sequence[Batch]) -> list[Batch]:
    """Returns the batches whose samples have the sizes that the model was captured with, and warns of all others.

    Args:
        graph: takes one size of sample, in batches of any length.
        batches: as a loader yields them.

    Raises:
        DataError: none has.
    """
    captured = _sizes(tree_leaves(graph.program.example_inputs))
    found = [batch for batch in batches if _sizes(batch.inputs) == captured]
    others = [_sizes(batch.inputs) for batch in batches if _sizes(batch.inputs) != captured]
    if others:
        words = (
            f"Task.calibrate: {len(others)} of {len(batches)} batches do not fit the captured model, which takes "
            f"samples of size {_words(captured)}: theirs are {_words(others[0])}. Pad or cut all samples to one size "
            "(collate_fn)"
        )
        if not found:
            raise DataError(f"{words}.")
        warnings.warn(f"{words}, to have all of them used.", stacklevel=3)
    return found


def _sizes(inputs: Iterable[Any]) -> list[tuple[int, ...]]:
    # Sorted, since a graph lists named inputs in the order of the model's own arguments.
    return sorted(tuple(x.shape[1:]) for x in inputs if isinstance(x, Tensor))


def _words(sizes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(list(size)) for size in sizes)
