"""Which sizes of a model's inputs change from call to call, beside that of the batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice

from torch import Tensor, nn

from laconic.core.errors import DataError, invalid
from laconic.core.task import Batch, Task

Sizes = Mapping[int, Mapping[int, str]]
"""Number of an input tensor, in the order of `Batch.inputs` -> dimension -> name of its size."""
LOOKED_AT = 16
"""Batches of each part that are looked at for sizes that change."""
IMAGE = 4
"""Dimensions from which on the last two are a height and a width."""


def input_names(model: nn.Module, batch: Batch) -> list[str]:
    """Returns the names under which the user knows the input tensors, in the order of `Batch.inputs`.

    Example:
        >>> import torch
        >>> input_names(nn.Linear(3, 2), Batch(args=(torch.zeros(1, 3),)))
        ['input']
    """
    positional = [
        p.name for p in inspect.signature(model.forward).parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD
    ]
    positional += [f"input_{i}" for i in range(len(positional), len(batch.args))]
    named = [*zip(positional, batch.args, strict=False), *batch.kwargs.items()]
    return [name for name, value in named if isinstance(value, Tensor)]


def names_in(sizes: Sizes) -> list[str]:
    """Returns the names, each once."""
    return list(dict.fromkeys(name for dims in sizes.values() for name in dims.values()))


def with_sizes(model: nn.Module, task: Task) -> Task:
    """Returns the task with the sizes that change written down, so that data is not looked at for them again.

    Raises:
        UsageError: `Task.dynamic` names an input or a dimension that there is not.
        DataError: batches differ in their number of inputs or dimensions.
    """
    batch = next(task.batches("evaluate", limit=1))
    names = input_names(model, batch)
    return replace(task, dynamic={names[i]: dict(dims) for i, dims in sizes_of(model, task, batch).items()})


def sizes_of(model: nn.Module, task: Task, batch: Batch) -> Sizes:
    """Returns the sizes that may change: what `Task.dynamic` names, else those in which batches differ.

    Args:
        model: whose inputs they are.
        task: says which, or has batches that show it.
        batch: an example; what its inputs have no dimension for is left out.

    Raises:
        UsageError: `Task.dynamic` names an input or a dimension that there is not.
        DataError: batches differ in their number of inputs or dimensions.

    Example:
        >>> import torch
        >>> batches = [torch.zeros(2, 5, 3), torch.zeros(2, 7, 3)]
        >>> sizes_of(nn.Linear(3, 2), Task(evaluate=batches), Batch(args=(batches[0],)))
        {0: {1: 'length'}}
    """
    names = input_names(model, batch)
    if task.dynamic is not None:
        return _named(task.dynamic, names, batch.inputs)
    shapes = list(_shapes(task))
    if [len(shape) for shape in shapes[0]] != [x.dim() for x in batch.inputs]:
        return {}  # The data is of another call than the example.
    return _differing(shapes, names)


def _named(dynamic: Mapping[str, Mapping[int, str]], names: Sequence[str], inputs: Sequence[Tensor]) -> Sizes:
    found: dict[int, dict[int, str]] = {}
    for name, dims in dynamic.items():
        if name not in names:
            raise invalid("Task.dynamic", name, f"an input of the model: {', '.join(names)}")
        number = names.index(name)
        rank = inputs[number].dim()
        for dim, size in dims.items():
            if not dim % max(rank, 1) >= 1 or not -rank <= dim < rank:
                raise invalid(f"Task.dynamic[{name!r}]", dim, f"a dimension from 1 to {rank - 1}")
            found.setdefault(number, {})[dim % rank] = size
    return found


def _shapes(task: Task) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yields the shapes of the first batches' inputs."""
    ranks: tuple[int, ...] | None = None
    for part in ("evaluate", "calibrate"):
        if part == "calibrate" and task.loader(part) is task.evaluate:
            return
        for batch in islice(task.batches(part), LOOKED_AT):
            shapes = tuple(tuple(x.shape) for x in batch.inputs)
            own = tuple(map(len, shapes))
            ranks = ranks or own
            if own != ranks:
                raise DataError(
                    f"Task.{part}: got a batch whose inputs have {_words(own)} dimensions after one of {_words(ranks)};"
                    " expected as many in every batch. Let collate_fn bring them to one form."
                )
            yield shapes


def _words(ranks: Sequence[int]) -> str:
    return " and ".join(map(str, ranks))


def _differing(shapes: Sequence[tuple[tuple[int, ...], ...]], names: Sequence[str]) -> Sizes:
    """Returns the dimensions that have several sizes; those that are always as large as each other share a name."""
    columns: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for i, first in enumerate(shapes[0]):
        for dim in range(1, len(first)):
            sizes = tuple(shape[i][dim] for shape in shapes)
            if len(set(sizes)) > 1:
                columns.setdefault(sizes, []).append((i, dim))
    found: dict[int, dict[int, str]] = {}
    taken = {"batch"}
    for places in columns.values():
        wanted = _name(*places[0], shapes[0], names, alone=len(columns) == 1)
        name = next(n for k in count(1) if (n := wanted if k == 1 else f"{wanted}_{k}") not in taken)
        taken.add(name)
        for i, dim in places:
            found.setdefault(i, {})[dim] = name
    return found


def _name(i: int, dim: int, shapes: tuple[tuple[int, ...], ...], names: Sequence[str], *, alone: bool) -> str:
    rank = len(shapes[i])
    if rank >= IMAGE and dim >= rank - 2:
        return "width" if dim == rank - 1 else "height"
    return "length" if alone else f"{names[i]}_length"
