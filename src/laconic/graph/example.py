"""What a person passes as example inputs, as positional and named arguments of the model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from laconic.core.errors import DataError, invalid
from laconic.core.task import Batch, Task
from laconic.graph.capture import Graph, capture
from laconic.graph.sizes import sizes_of

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


def captured(model: nn.Module, data: Example) -> Graph:
    """Captures a model on an example; the graph knows which sizes of a task's batches change, and takes the example's.

    Raises:
        UsageError: the data is no example, or `Task.dynamic` names what there is not.
        ModelError: the model fails on it, or cannot be captured.
    """
    args, kwargs = example_inputs(data)
    graph = capture(model, args, kwargs)
    if isinstance(data, Task):
        return replace(graph, sizes=sizes_of(model, data, Batch(args=args, kwargs=kwargs)))
    return graph


def fitting(graph: Graph, batches: Sequence[Batch]) -> list[Batch]:
    """Returns the batches whose samples have the sizes that the model was captured with, and warns of all others.

    Samples that are longer in sizes which change from call to call are cut to their beginning.

    Args:
        graph: takes one size of sample, in batches of any length.
        batches: as a loader yields them.

    Raises:
        DataError: none has.
    """
    captured = _sizes(tree_leaves(graph.program.example_inputs))
    batches = [_cut(graph, batch) for batch in batches]
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


def _cut(graph: Graph, batch: Batch) -> Batch:
    """Returns a batch with the beginning of what is too long, without samples of which only zeros, padding, are left.

    Its labels are gone, since they may be of what was cut.
    """
    wanted = {**dict(enumerate(graph.program.example_inputs[0])), **graph.program.example_inputs[1]}
    keys = [*range(len(batch.args)), *batch.kwargs]
    given = dict(zip(keys, (*batch.args, *batch.kwargs.values()), strict=True))
    numbered = [key for key, value in given.items() if isinstance(value, Tensor)]
    emptied = torch.zeros(batch.size, dtype=torch.bool)
    shorter = dict(given)
    for number, dims in graph.sizes.items():
        key = numbered[number]
        for dim in dims:
            size = wanted[key].shape[dim]
            if size < shorter[key].shape[dim]:
                shorter[key] = shorter[key].narrow(dim, 0, size)
        if shorter[key] is not given[key] and len(given[key]) == batch.size:
            emptied |= ~shorter[key].flatten(1).any(1).cpu() & given[key].flatten(1).any(1).cpu()
    if all(shorter[key] is given[key] for key in keys) or (emptied.any() and not graph.dynamic_batch):
        return batch
    left = (~emptied).nonzero().flatten()
    kept = {
        key: value[left.to(value.device)] if isinstance(value, Tensor) and len(value) == batch.size else value
        for key, value in shorter.items()
    }
    args = tuple(kept[key] for key in range(len(batch.args)))
    return Batch(args=args, kwargs={key: kept[key] for key in batch.kwargs})


def _sizes(inputs: Iterable[Any]) -> list[tuple[int, ...]]:
    # Sorted, since a graph lists named inputs in the order of the model's own arguments.
    return sorted(tuple(x.shape[1:]) for x in inputs if isinstance(x, Tensor))


def _words(sizes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(list(size)) for size in sizes)
