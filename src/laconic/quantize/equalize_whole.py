"""A model that answers the same with weights and activations that lose less when they are rounded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.errors import ModelError
from laconic.core.plan import Plan
from laconic.core.projection import copied
from laconic.core.task import Task
from laconic.graph import Graph, capture
from laconic.graph.axes.expression import LARGEST_REAL, Atom, Expr, Prod, Sum, atoms_in
from laconic.graph.example import example_inputs
from laconic.graph.operators import arguments, name_of
from laconic.graph.oracle import largest_difference
from laconic.quantize.equalize_operators import WEIGHTED
from laconic.quantize.equalize_places import Places, scalable
from laconic.quantize.equalize_rotation import Rotation
from laconic.quantize.equalize_scales import CrossLayer, Ranges, Smooth
from laconic.quantize.equalize_streams import Stream, Turn, turnable
from laconic.quantize.equalize_walk import Place, Touch

Tensors = dict[str, Tensor]
DEVIATIONS = 3
"""A normalised channel is held to reach so many deviations."""
SETTLED = 1e-3
"""Scales that change by no more than this fraction in a round are done."""
ROUNDINGS = 2000
"""The answers may differ by so many of the dtype's roundings, relative to the largest one."""


def equalize(
    model: nn.Module,
    task: Task,
    *,
    method: CrossLayer | Smooth | Rotation | None = None,
    samples: int = 256,
    graph: Graph | None = None,
) -> Plan:
    """Plans a rescaling of channels that leaves the model's answers as they are. Nothing is changed: `apply` the plan.

    Where values are made they are multiplied by a scale a channel, where they are read they are divided by it.
    `scalable(model, task)` lists the places, and what stood in the way elsewhere. `Rotation` turns the channels of
    residual streams into one another instead, and `turnable(model, task)` lists those. Quantise the model that `apply`
    returns; `followed_by(equalized, quantized)` is one plan for both.

    Args:
        model: a trained model; left untouched.
        task: its data, read without labels, and only by `Smooth`; a few samples prove the result.
        method: how scales are chosen; None: `CrossLayer()`.
        samples: at most so many are read.
        graph: of an earlier `capture`.

    Returns:
        A `Recode` to `Dense` of every parameter and buffer that changes; no edits where no place was found.

    Raises:
        ModelError: the model cannot be captured, a weight is not finite, or the proof failed.

    Guarantees:
        The changed model answers what the original answers in eval mode, up to rounding.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
        >>> plan = equalize(model, Task(evaluate=[torch.randn(4, 1)]))
        >>> [edit.where for edit in plan]
        ['0.weight', '0.bias', '2.weight']
    """
    method = method or CrossLayer()
    args, kwargs = example_inputs(task)
    graph = graph or capture(model, args, kwargs)
    if isinstance(method, Rotation):
        streams = turnable(graph).found
        before = _tensors(graph, {turn.tensor for stream in streams for turn in stream.turns})
        after = _turned(streams, before, method)
    else:
        places = scalable(graph)
        before = _tensors(graph, {touch.tensor for place in places.found for touch in place.touches})
        seen = largest_values(places, task, samples) if method.reads_data else {}
        after = _equalized(places, before, seen, method)
    order = [name for name in graph.tensors if name in after and not torch.equal(after[name], before[name])]
    plan = Plan.of(Recode(name, Dense.of(after[name])) for name in order)
    _prove(model, plan, args, kwargs)
    return plan


def _tensors(graph: Graph, changing: Collection[str]) -> Tensors:
    before = {name: graph.tensors[name].detach().double() for name in sorted(changing)}
    for name, tensor in before.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"equalize: {name} holds values that are not finite. Load a checkpoint that is sound.")
    return before


def _turned(streams: Iterable[Stream], before: Mapping[str, Tensor], method: Rotation) -> Tensors:
    after = dict(before)
    for stream in streams:
        matrix = method.matrix(stream.size, keep_mean=stream.keep_mean)
        for turn in stream.turns:
            tensor, gain = after[turn.tensor], None if turn.gain is None else before[turn.gain]
            after[turn.tensor] = (
                torch.ones_like(tensor) if turn.role == "gain" else _taken_up(tensor, turn, gain, matrix)
            )
    return after


def _taken_up(tensor: Tensor, turn: Turn, gain: Tensor | None, matrix: Tensor) -> Tensor:
    along = tensor.movedim(turn.dim, -1)
    if gain is not None:
        along = along / torch.where(gain != 0, gain, 1) if turn.role == "shift" else along * gain
    return (along @ matrix.to(tensor.device)).movedim(-1, turn.dim)


def _equalized(
    places: Places, before: Mapping[str, Tensor], seen: Mapping[Place, Tensor], method: CrossLayer | Smooth
) -> Tensors:
    tensors = dict(before)
    totals = {place: torch.ones(place.axis.size, dtype=torch.float64) for place in places.found}
    for _ in range(method.rounds):
        earlier = dict(totals)
        for place, total in earlier.items():
            wanted = total * method.scales(_ranges(place, tensors, seen.get(place)))
            totals[place] = _allowed(place, before, wanted.clamp(1 / method.limit, method.limit))
            for touch in place.touches:
                tensors[touch.tensor] = _scaled(tensors[touch.tensor], touch, place.axis.atom, totals[place] / total)
        if all(torch.allclose(totals[place], total, rtol=SETTLED) for place, total in earlier.items()):
            break
    return tensors


def followed_by(first: Plan, later: Plan) -> Plan:
    """Returns both plans as one, without what the later one replaces: a weight is stored as it ends, and only once.

    Args:
        first: such as from `equalize`.
        later: a plan for the model that `apply(model, first)` returns, such as from `quantize`.

    Guarantees:
        The plan applied equals the first plan applied, then the later one.
    """
    replaced = {edit.parameter for edit in later.recodes}
    kept = [edit for edit in first if not (isinstance(edit, Recode) and edit.parameter in replaced)]
    return Plan.of([*kept, *later])


def _ranges(place: Place, tensors: Mapping[str, Tensor], seen: Tensor | None) -> Ranges:
    atom = place.axis.atom
    made: dict[str, Tensor] = {}
    for touch in place.touches:
        if touch.power > 0 and touch.role in ("weight", "gain", "shift"):
            reach = _along(tensors[touch.tensor], touch.dim, touch.expr, atom)
            reach = reach * DEVIATIONS if touch.role == "gain" else reach
            made[touch.node] = made.get(touch.node, torch.zeros(())) + reach
    read = [_along(tensors[touch.tensor], touch.dim, touch.expr, atom) for touch in place.readers]
    ones = torch.ones(atom.size, dtype=torch.float64)
    return Ranges(
        made=_widest(list(made.values())) if made else ones,
        read=_widest(read) if read else None,
        seen=seen,
    )


def _widest(ranges: list[Tensor]) -> Tensor:
    """Returns the largest of several tensors' ranges, each relative to the whole tensor's: that is what rounding is."""
    largest = [reach.max() for reach in ranges]
    relative = [reach / top if top > 0 else reach for reach, top in zip(ranges, largest, strict=True)]
    return torch.stack(relative).amax(0)


def _allowed(place: Place, before: Mapping[str, Tensor], total: Tensor) -> Tensor:
    """Returns scales under which no variance becomes negative."""
    for touch in place.touches:
        if touch.role == "variance":
            variance = _along(before[touch.tensor], 0, touch.expr, place.axis.atom)
            total = torch.maximum(total, (touch.eps / (variance + touch.eps)).sqrt())
    return total


def _scaled(tensor: Tensor, touch: Touch, atom: Atom, scales: Tensor) -> Tensor:
    at = coordinates(touch.expr, atom)
    factor = torch.where(at >= 0, scales[at.clamp(min=0)], 1).to(tensor.device)
    if touch.role == "variance":
        return (factor.square() * (tensor + touch.eps) - touch.eps).clamp(min=0)
    return tensor * (factor**touch.power).reshape(-1, *[1] * (tensor.dim() - touch.dim - 1))


def _along(tensor: Tensor, dim: int, expr: Expr, atom: Atom) -> Tensor:
    """Returns the largest magnitude at each index of an axis, float64 `[axis]`."""
    flat = tensor.detach().abs().double().transpose(0, dim).flatten(1).cpu() if tensor.dim() > 1 else tensor.abs().cpu()
    each = flat.amax(1) if flat.dim() > 1 else flat.double()
    at = coordinates(expr, atom)
    found = torch.zeros(atom.size, dtype=torch.float64)
    return found.scatter_reduce(0, at[at >= 0], each[at >= 0], "amax")


def coordinates(expr: Expr, atom: Atom) -> Tensor:
    """Returns which index of an axis each index of a dimension belongs to, int64; -1 for none.

    Example:
        >>> channels = Atom(2)
        >>> coordinates(Sum((Atom(1), Prod((channels, Atom(3))))), channels).tolist()
        [-1, 0, 0, 0, 1, 1, 1]
    """
    match expr:
        case Atom():
            return torch.arange(expr.size) if expr is atom else torch.full((expr.size,), -1)
        case Prod():
            found = torch.full((1,), -1)
            for factor in expr.factors:
                found = torch.maximum(found[:, None], coordinates(factor, atom)[None, :]).flatten()
            return found
        case Sum():
            return torch.cat([coordinates(part, atom) for part in expr.parts])


def largest_values(places: Places, task: Task, samples: int) -> dict[Place, Tensor]:
    """Returns the largest magnitude of every channel where weights read it, float64 `[channels]` a place."""
    graph = places.axes.graph
    wanted = {place: _read_values(place) for place in places.found if place.readers}
    watched = {node.name: node for nodes in wanted.values() for node in nodes}
    found: dict[tuple[str, Atom], Tensor] = {}
    atoms = {(node.name, place.axis.atom) for place, nodes in wanted.items() for node in nodes}
    watcher = _Watcher(graph.module(), watched, atoms, found, places)
    device = next(iter(graph.tensors.values())).device if graph.tensors else torch.device("cpu")
    with torch.no_grad():
        for batch in task.batches("calibrate", limit=samples, device=device):
            if graph.dynamic_batch or batch.size == graph.batch_size:
                flat = pytree.tree_leaves((batch.args, dict(batch.kwargs)))
                watcher.run(*flat, enable_io_processing=False)
    if watched and not found:
        raise ModelError(f"equalize: no batch has the {graph.batch_size} samples that {graph.name} is fixed at.")
    return {
        place: torch.stack([found[node.name, place.axis.atom] for node in nodes]).amax(0)
        for place, nodes in wanted.items()
    }


def _read_values(place: Place) -> list[Node]:
    scaled = set(place.values)
    readers = [reader for value in place.values for reader in value.users if name_of(reader) in WEIGHTED]
    inputs = [arguments(reader)[WEIGHTED[name_of(reader)][0]] for reader in readers]
    return list(dict.fromkeys(node for node in inputs if node in scaled))


class _Watcher(Interpreter):
    """Keeps the largest magnitude of some values along some axes."""

    def __init__(
        self,
        module: GraphModule,
        watched: Mapping[str, Node],
        atoms: set[tuple[str, Atom]],
        found: dict[tuple[str, Atom], Tensor],
        places: Places,
    ) -> None:
        super().__init__(module)
        self._watched, self._atoms, self._found, self._places = watched, atoms, found, places

    def run_node(self, n: Node) -> Any:
        """Runs one node."""
        result = super().run_node(n)
        if n.name in self._watched:
            dims = cast(tuple[Expr, ...], self._places.axes.resolved.dims[self._watched[n.name]])
            for d, expr in enumerate(dims):
                for atom in dict.fromkeys(atoms_in(expr)):
                    if (n.name, atom) in self._atoms and expr.size <= LARGEST_REAL:
                        largest = _along(result, d, expr, atom)
                        held = self._found.get((n.name, atom))
                        self._found[n.name, atom] = largest if held is None else torch.maximum(held, largest)
        return result


def _prove(model: nn.Module, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Checks that the changed model answers what the original does."""
    tensors = [t for t in model.parameters() if t.is_floating_point()]
    device = tensors[0].device if tensors else torch.device("cpu")
    args, kwargs = pytree.tree_map_only(Tensor, lambda t: t.to(device), (args, dict(kwargs)))
    with torch.no_grad():
        expected = _answers(copied(model), args, kwargs)
        error = largest_difference(_answers(apply(model, plan), args, kwargs), expected)
    eps = max((torch.finfo(t.dtype).eps for t in tensors), default=0.0)
    allowed = ROUNDINGS * max(eps, torch.finfo(torch.float32).eps) if eps < 1e-4 else 8 * eps
    if not error <= allowed:
        raise ModelError(
            f"equalize: the rescaled {type(model).__name__} is off by {error:.2g} of its largest answer; expected at "
            f"most {allowed:.2g}. Please report this model."
        )


def _answers(model: nn.Module, args: Any, kwargs: Any) -> list[Tensor]:
    answers = pytree.tree_leaves(model.eval()(*args, **kwargs))
    return [t for t in answers if isinstance(t, Tensor)]
