"""What flows along each axis into the layers that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from laconic.graph import weighted_calls
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.call import Dims
from laconic.graph.axes.expression import atoms_in, fitted
from laconic.graph.cutting import copy_of
from laconic.graph.weights import weight_names
from laconic.prune.importance.slices import owners

Batches = Sequence[tuple[Sequence[Any], Mapping[str, Any]]]


class Activity(NamedTuple):
    """Means over samples, positions and readers, float64 `[size]` with one entry for each index of an axis.

    Args:
        magnitude: of the absolute values.
        zeros: the fraction of values that are exactly zero, in `[0, 1]`.
    """

    magnitude: Tensor
    zeros: Tensor


def activity(axes: Axes, batches: Batches) -> dict[str, Activity]:
    """Returns what the linear layers and convolutions that read an axis get to read, by name of the axis.

    Those are the values behind activation functions, where there are some. Only the values of one batch are in memory.

    Args:
        axes: the analysis of the model.
        batches: positional and named inputs.

    Returns:
        An axis that no linear layer or convolution reads is missing.
    """
    watch = _Watch(axes)
    with torch.no_grad():
        for args, kwargs in batches:
            watch.run(*pytree.tree_leaves((tuple(args), dict(kwargs))), enable_io_processing=False)
    sums = {axis.name: total for axis, total in watch.sums.items()}
    return {name: Activity(magnitude / count, zeros / count) for name, (count, magnitude, zeros) in sums.items()}


class _Watch(Interpreter):
    """Sums up what weighted operators read; each value once, however many read it."""

    def __init__(self, axes: Axes) -> None:
        Interpreter.__init__(self, copy_of(axes))
        self._axes = axes
        self._read = {source.name: source for source in _read(axes)}
        self.sums: dict[Axis, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """Runs one node."""
        value = super().run_node(n)
        source = self._read.get(n.name)
        dims = None if source is None else self._axes.resolved.dims.get(source)
        if isinstance(dims, tuple) and isinstance(value, Tensor) and value.is_floating_point():
            self._add(value, dims)
        return value

    def _add(self, value: Tensor, dims: Dims) -> None:
        for d, expr in enumerate(dims):
            inside = set(atoms_in(expr))
            for axis in [axis for axis in self._axes if axis.atom in inside]:
                rows = value.movedim(d, 0).flatten(1)
                seen = torch.stack(
                    [count.sum(1, dtype=torch.float64) for count in (rows == rows, rows.abs(), rows == 0)]
                )
                belongs = owners(fitted(expr, value.shape[d], {}), axis.atom)
                here = belongs >= 0
                total = torch.zeros(3, axis.size, dtype=torch.float64)
                total.index_add_(1, belongs[here], seen.cpu()[:, here])
                self.sums[axis] = self.sums.get(axis, 0) + total


def _read(axes: Axes) -> Iterator[Node]:
    """Yields the nodes whose values a weighted operator multiplies."""
    weights = weight_names(axes.graph)
    named = {node.name: node for node in axes.graph.nodes}
    for call in weighted_calls(axes.graph):
        yield from [source for source in named[call.op.node].all_input_nodes if source not in weights]
