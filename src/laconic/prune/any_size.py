"""Graphs of cut models that take sizes of their inputs as they come, proven at more than one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from laconic.core.errors import ModelError
from laconic.core.task import Batch
from laconic.graph import Graph, capture
from laconic.graph.axes import Axes, Axis
from laconic.graph.blocks import Block, blocks
from laconic.graph.capture import eval_mode
from laconic.graph.fixed import resized
from laconic.graph.sizes import Sizes, names_in

Kept = Mapping[Axis, Tensor]
FACTORS = (0.5, 2)
"""Other sizes are these times those of the example."""


def of_any_size(model: nn.Module, graph: Graph, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph | None:
    """Captures the model once more, so that the sizes that change are taken as they come; None where it cannot be so.

    Args:
        model: the original.
        graph: of it; knows which sizes change, and takes those of the example.
        args: positional inputs.
        kwargs: named inputs.
    """
    if not graph.sizes:
        return None
    try:
        found = capture(model, args, kwargs, sizes=graph.sizes)
    except ModelError:
        return None
    return (
        found if all(found.dynamic_sizes.get(i, {}).keys() == dims.keys() for i, dims in graph.sizes.items()) else None
    )


def elsewhere(
    model: nn.Module, graph: Graph, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Graph, tuple[Any, ...], dict[str, Any]]]:
    """Yields the model captured at other sizes that it takes, with such inputs.

    Args:
        model: the original.
        graph: of it; knows which sizes change.
        args: positional inputs.
        kwargs: named inputs.
    """
    for factor in FACTORS if graph.sizes else ():
        inputs = _resized(args, kwargs, graph.sizes, factor)
        if runs(model, *inputs):
            yield capture(model, *inputs), *inputs


def check_sizes(model: nn.Module, original: nn.Module, sizes: Sizes, batch: Batch) -> None:
    """Refuses a smaller model that does not run at sizes of the inputs at which the original does.

    Args:
        model: the smaller one.
        original: what it was made of.
        sizes: of the inputs that change.
        batch: an example.

    Raises:
        ModelError: it takes the example's sizes alone.
    """
    for factor in FACTORS if sizes else ():
        inputs = _resized(batch.args, batch.kwargs, sizes, factor)
        if runs(original, *inputs) and not runs(model, *inputs):
            names = " and ".join(names_in(sizes))
            raise ModelError(f"it would become a graph that takes one {names} only, and that of the data changes.")


def runs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a model takes some inputs."""
    try:
        with eval_mode(model):
            model(*args, **kwargs)
    except Exception:  # Whatever the user's code raises: there may be more positions than it knows.
        return False
    return True


def same_cut(found: Axes, keep: Kept) -> tuple[Axes, Kept] | None:
    """Returns the axes of the same names in another analysis; None where they are not all there."""
    there = {axis.name: axis for axis in found}
    if any(axis.name not in there or there[axis.name].size != axis.size for axis in keep):
        return None
    return found, {there[axis.name]: kept for axis, kept in keep.items()}


def same_blocks(graph: Graph, removed: Sequence[Block]) -> list[Block] | None:
    """Returns the blocks of the same names in another capture; None where they are not all there."""
    there = {block.name: block for block in blocks(graph)}
    found = [there[block.name] for block in removed if block.name in there]
    return found if [block.kind for block in found] == [block.kind for block in removed] else None


def _resized(
    args: Sequence[Any], kwargs: Mapping[str, Any], sizes: Sizes, factor: float
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    batch = Batch(args=tuple(args), kwargs=kwargs)
    rest = iter(resized(batch.inputs, sizes, dict.fromkeys(names_in(sizes), factor)))

    def fill(value: Any) -> Any:
        return next(rest) if isinstance(value, Tensor) else value

    return tuple(map(fill, args)), {key: fill(value) for key, value in kwargs.items()}
