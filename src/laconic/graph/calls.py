"""Which operators each call of a module covers: the user's modules as stretches of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch.fx import Node

from laconic.graph.capture import Graph
from laconic.graph.liveness import is_tensor


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module that holds at least one operator.

    Args:
        path: of the module; two calls of it have the same.
        depth: number of calls around it; the model itself has 0.
        nodes: operators with tensors as results, in the order of execution, those of modules inside it included.
        composite: whether it calls a module with operators itself.
        repeated: whether the module is called again elsewhere.
    """

    path: str
    depth: int
    nodes: tuple[Node, ...]
    composite: bool
    repeated: bool


def module_calls(graph: Graph) -> tuple[ModuleCall, ...]:
    """Returns every call of a module but the model's own, outer ones first, then in the order of execution.

    Example:
        >>> import torch
        >>> from laconic.graph.capture import capture
        >>> inner = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
        >>> [call.path for call in module_calls(capture(torch.nn.Sequential(inner), (torch.zeros(2, 3),)))]
        ['0', '0.0', '0.1']
    """
    nodes: dict[str, list[Node]] = {}
    paths: dict[str, str] = {}
    depths: dict[str, int] = {}
    around: set[str] = set()
    for node in graph.nodes:
        if node.op == "call_function" and is_tensor(node):
            stack = [(key, path) for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items()]
            keys = [key for key, path in stack if _is_inside(path)]
            around.update(keys[:-1])
            for depth, (key, path) in enumerate((key, path) for key, path in stack if _is_inside(path)):
                nodes.setdefault(key, []).append(node)
                paths[key], depths[key] = path, depth + 1
    listed = list(paths.values())
    calls = [
        ModuleCall(paths[key], depths[key], tuple(found), key in around, listed.count(paths[key]) > 1)
        for key, found in nodes.items()
    ]
    return tuple(sorted(calls, key=lambda call: call.depth))


def covered(calls: Iterable[ModuleCall], nodes: frozenset[Node]) -> tuple[ModuleCall, ...]:
    """Returns the outermost calls all of whose operators are among some nodes, in the order of execution."""
    found: list[ModuleCall] = []
    taken: set[Node] = set()
    for call in calls:
        if nodes.issuperset(call.nodes) and taken.isdisjoint(call.nodes):
            found.append(call)
            taken.update(call.nodes)
    order = {node: i for i, node in enumerate(next(iter(nodes)).graph.nodes)} if nodes else {}
    return tuple(sorted(found, key=lambda call: order[call.nodes[0]]))


def _is_inside(path: str) -> bool:
    return bool(path) and not path.startswith("_empty_nn_module_stack")
