"""Graphs of cut models that take sizes of their inputs as they come, proven at more than one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from laconic.core.errors import LaconicError
from laconic.core.task import Batch
from laconic.graph import capture
from laconic.graph.axes import Axes, Axis, axes
from laconic.graph.capture import eval_mode
from laconic.graph.fixed import resized
from laconic.graph.sizes import Sizes, names_in

Kept = Mapping[Axis, Tensor]
FACTORS = (0.5, 2)
"""Other sizes are these times those of the example."""


def of_any_size(
    model: nn.Module, found: Axes, keep: Kept, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Axes, Kept] | None:
    """Returns the same cut of a graph that takes the sizes that change as they come; None where there is no such.

    Args:
        model: the original.
        found: its analysis, whose graph knows which sizes change and takes those of the example.
        keep: the kept indices of each axis that is cut.
        args: positional inputs.
        kwargs: named inputs.
    """
    sizes = found.graph.sizes
    if not sizes:
        return None
    try:
        graph = capture(model, args, kwargs, sizes=sizes)
        return _same(axes(graph), keep) if len(graph.dynamic_sizes) == len(sizes) else None
    except LaconicError:
        return None


def elsewhere(
    model: nn.Module, sizes: Sizes, keep: Kept, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Axes, Kept, tuple[Any, ...], dict[str, Any]]]:
    """Yields what the same cut is at other sizes that the original takes: an analysis, what is kept, and inputs.

    Args:
        model: the original.
        sizes: of its inputs that change.
        keep: the kept indices of each axis that is cut.
        args: positional inputs.
        kwargs: named inputs.
    """
    for factor in FACTORS:
        inputs = _resized(args, kwargs, sizes, factor)
        try:
            with eval_mode(model):
                model(*inputs[0], **inputs[1])
        except Exception:  # Whatever the user's code raises: there may be more positions than it knows.
            continue
        same = _same(axes(capture(model, *inputs)), keep)
        if same is not None:
            yield *same, *inputs


def _same(found: Axes, keep: Kept) -> tuple[Axes, Kept] | None:
    """Returns the axes of the same names in another analysis; None where they are not all there."""
    there = {axis.name: axis for axis in found}
    if any(axis.name not in there or there[axis.name].size != axis.size for axis in keep):
        return None
    return found, {there[axis.name]: kept for axis, kept in keep.items()}


def _resized(
    args: Sequence[Any], kwargs: Mapping[str, Any], sizes: Sizes, factor: float
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    batch = Batch(args=tuple(args), kwargs=kwargs)
    rest = iter(resized(batch.inputs, sizes, dict.fromkeys(names_in(sizes), factor)))

    def fill(value: Any) -> Any:
        return next(rest) if isinstance(value, Tensor) else value

    return tuple(map(fill, args)), {key: fill(value) for key, value in kwargs.items()}
