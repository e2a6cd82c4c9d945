"""The largest values that the calibration data brings to where weights read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from laconic.core.errors import ModelError
from laconic.core.task import Task
from laconic.graph.axes.expression import Expr, atoms_in
from laconic.graph.operators import arguments, name_of
from laconic.quantize.equalize_operators import WEIGHTED
from laconic.quantize.equalize_places import Places
from laconic.quantize.equalize_tensors import largest_along
from laconic.quantize.equalize_walk import Place


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A value that weights read, and the dimension of it that a place's channels are in."""

    place: Place
    value: Node
    dim: int
    expr: Expr


def largest_values(places: Places, task: Task, samples: int) -> dict[Place, Tensor]:
    """Returns the largest magnitude of every channel where weights read it, float64 `[channels]` a place.

    Args:
        places: of a model.
        task: its calibration data is read, without labels.
        samples: at most so many are.

    Raises:
        ModelError: no batch has the size that the model was captured with.
    """
    graph, spots = places.axes.graph, list(_spots(places))
    watcher = _Watcher(graph.module(), spots)
    device = next(iter(graph.tensors.values())).device if graph.tensors else torch.device("cpu")
    with torch.no_grad():
        for batch in task.batches("calibrate", limit=samples, device=device):
            if graph.dynamic_batch or batch.size == graph.batch_size:
                flat = pytree.tree_leaves((batch.args, dict(batch.kwargs)))
                watcher.run(*flat, enable_io_processing=False)
    if spots and not watcher.found:
        raise ModelError(f"equalize: no batch has the {graph.batch_size} samples that {graph.name} is fixed at.")
    return watcher.found


def _spots(places: Places) -> Iterator[_Spot]:
    for place in places.found:
        readers = [reader for value in place.values for reader in value.users if name_of(reader) in WEIGHTED]
        read = dict.fromkeys(arguments(reader)[WEIGHTED[name_of(reader)][0]] for reader in readers)
        for value in read.keys() & set(place.values):
            for dim, expr in enumerate(cast(tuple[Expr, ...], places.axes.resolved.dims[value])):
                if place.axis.atom in atoms_in(expr):
                    yield _Spot(place=place, value=value, dim=dim, expr=expr)


class _Watcher(Interpreter):
    """Keeps the largest magnitudes that pass some spots, the larger one where a place has several."""

    def __init__(self, module: GraphModule, spots: Iterable[_Spot]) -> None:
        super().__init__(module)
        self.found: dict[Place, Tensor] = {}
        self._spots: dict[str, list[_Spot]] = {}
        for spot in spots:
            self._spots.setdefault(spot.value.name, []).append(spot)

    def run_node(self, n: Node) -> Any:
        """Runs one node."""
        result = super().run_node(n)
        for spot in self._spots.get(n.name, ()):
            largest = largest_along(result, spot.dim, spot.expr, spot.place.axis.atom)
            held = self.found.get(spot.place)
            self.found[spot.place] = largest if held is None else torch.maximum(held, largest)
        return result
