"""The layers of a model that could be matched: where they lie, what they compute, what they give."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from laconic.core.errors import LaconicError
from laconic.core.task import Batch, Task
from laconic.distill.answering import answering
from laconic.graph import Graph, capture
from laconic.graph.calls import ModuleCall, module_calls
from laconic.graph.macs import products_of
from laconic.graph.operators import ATTENTION, CONVOLUTIONS, RECURRENT, name_of

ROWS = (nn.Sequential, nn.ModuleList)
ATTENDING = frozenset({ATTENTION, "softmax", "_softmax"})


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module that is called once and gives a tensor.

    Args:
        path: of the module.
        shape: of what it gives, `[samples, ...]`.
        begin: how deep it begins: products one after the other on the longest way from the inputs.
        end: how deep it ends.
        role: what it computes: `attention`, `convolution`, `recurrence`, `product`; None: not known.
    """

    path: str
    shape: tuple[int, ...]
    begin: int
    end: int
    role: str | None = None

    @property
    def form(self) -> tuple[int, ...]:
        """Dimensions and positions: image size, or length of a sequence."""
        positions = self.shape[2:] if len(self.shape) > 3 else self.shape[1:-1]
        return (len(self.shape), *positions)

    def joins(self, other: Layer) -> bool:
        """Whether a projection can join the two: images of any size, else as many positions."""
        images = len(self.shape) > 3
        return len(self.shape) == len(other.shape) and (images or self.form == other.form)


def layers(model: nn.Module, batch: Batch, task: Task) -> list[Layer]:
    """Returns the layers of a model, in the order in which they are called.

    Of the modules that stand in rows (`Sequential`, `ModuleList`) those that hold others of their own, or where there
    are none, the outermost ones that do, or single layers. Depths and roles are read from the captured graph. A model
    that cannot be captured is warned of; its layers are then counted, and have no roles.

    Args:
        model: left as it is.
        batch: is answered.
        task: how the model is called.
    """
    shapes, (args, kwargs) = _heard(model, lambda device: task.forward(model, batch.to(device)))
    try:
        graph = capture(model, args, kwargs)
    except LaconicError as error:
        warnings.warn(f"match: layers are paired by their modules alone, not by the graph: {error}", stacklevel=4)
        return [
            Layer(path=path, shape=shapes[path], begin=i, end=i + 1)
            for i, path in enumerate(path for path in shapes if path in _rows_by_module(model))
        ]
    depths = _depths(graph)
    order = {node: i for i, node in enumerate(depths)}
    found = [call for call in module_calls(graph) if call.path in shapes and any(map(products_of, call.nodes))]
    chosen = sorted(_chosen(model, found), key=lambda call: order[call.nodes[-1]])
    return [_layer(call, shapes[call.path], depths) for call in chosen]


def _layer(call: ModuleCall, shape: tuple[int, ...], depths: Mapping[Node, int]) -> Layer:
    entering = [depths[source] for node in call.nodes for source in node.all_input_nodes if source not in call.nodes]
    end = max(depths[node] for node in call.nodes)
    return Layer(path=call.path, shape=shape, begin=min([end, *entering]), end=end, role=_role(call.nodes))


def _role(nodes: Sequence[Node]) -> str:
    names = {name_of(node) for node in nodes}
    roles = (("recurrence", RECURRENT), ("attention", ATTENDING), ("convolution", CONVOLUTIONS))
    return next((role for role, family in roles if names & family), "product")


def _depths(graph: Graph) -> dict[Node, int]:
    """Returns the number of products on the longest way to each node, in the order of execution."""
    found: dict[Node, int] = {}
    for node in graph.nodes:
        found[node] = max((found[source] for source in node.all_input_nodes), default=0) + bool(products_of(node))
    return found


def _chosen(model: nn.Module, calls: Sequence[ModuleCall]) -> list[ModuleCall]:
    """Returns the calls that are layers."""
    composite = [call for call in calls if call.composite]
    rows = {path for path, _ in _in_rows(model)}
    standing = [call for call in composite if call.path in rows]
    chosen = _outermost(model, standing) if standing else _several(composite)
    return chosen or [call for call in calls if not call.composite]


def _outermost(model: nn.Module, calls: Sequence[ModuleCall]) -> list[ModuleCall]:
    """Returns the calls that lie in no other one; a row of them is several layers, not one."""
    around = [
        call
        for call in calls
        if not isinstance(model.get_submodule(call.path), ROWS)
        or not any(other.path.startswith(f"{call.path}.") for other in calls)
    ]
    return [call for call in around if not any(call.path.startswith(f"{other.path}.") for other in around)]


def _several(calls: Sequence[ModuleCall]) -> list[ModuleCall]:
    """Returns the outermost calls at the first level that has more than one."""
    left = list(calls)
    while left:
        level = [call for call in left if not any(call.path.startswith(f"{other.path}.") for other in left)]
        if len(level) > 1:
            return level
        left = [call for call in left if call not in level]
    return []


def _in_rows(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, row in model.named_modules():
        if isinstance(row, ROWS):
            yield from ((f"{path}.{name}".lstrip("."), child) for name, child in row.named_children())


def _rows_by_module(model: nn.Module) -> set[str]:
    """Returns what stands in rows: modules that hold others where there are some, else those with parameters."""
    inside = list(_in_rows(model))
    blocks = {
        path for path, child in inside if any(True for _ in child.children()) and not isinstance(child, nn.ModuleList)
    }
    return blocks or {path for path, child in inside if any(True for _ in child.parameters())}


def _heard(
    model: nn.Module, ask: Callable[[Any], Tensor]
) -> tuple[dict[str, tuple[int, ...]], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Returns what each module gives that is called once, by path, and what the model itself is given."""
    found: dict[str, list[tuple[int, ...]]] = {}
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handles = [module.register_forward_hook(_listener(found, path)) for path, module in model.named_modules() if path]
    handles.append(
        model.register_forward_pre_hook(lambda _module, args, kwargs: given.append((args, kwargs)), with_kwargs=True)
    )
    try:
        with answering(model) as device:
            ask(device)
    finally:
        for handle in handles:
            handle.remove()
    return {path: shapes[0] for path, shapes in found.items() if len(shapes) == 1}, given[-1]


def _listener(found: dict[str, list[tuple[int, ...]]], path: str) -> Any:
    def listen(_module: nn.Module, _args: Any, output: Any) -> None:
        given = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(given, Tensor) and given.is_floating_point() and given.dim() > 1:
            found.setdefault(path, []).append(tuple(given.shape))

    return listen
