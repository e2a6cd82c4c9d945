"""What of a graph still has to run when some results are taken from elsewhere."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping

from torch import Tensor
from torch.fx import Graph as FxGraph
from torch.fx import Node


def alive(graph: FxGraph, instead: Mapping[Node, Node]) -> set[Node]:
    """Returns the nodes that the output needs.

    A node that changes memory in place runs while its result, or a later view of that memory, is read; one that only
    checks something runs while what it checks does. Inputs of the model always stay.

    Args:
        graph: of ATen operators.
        instead: node -> the node whose value its result becomes.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    effects = [node for node in order if not node.users and node.op == "call_function"]
    storage = storages(graph)
    found: set[Node] = set()
    _reach((node for node in order if node.op == "output"), instead, found)
    changed = True
    while changed:
        read = {node: [instead[node]] if node in instead else node.all_input_nodes for node in found}
        needed = [node for node in effects if node not in found and _matters(node, read, storage, order)]
        changed = bool(needed)
        _reach(needed, instead, found)
    return found


def storages(graph: FxGraph) -> dict[Node, Node]:
    """Returns node -> the node whose memory its result lies in: views and in-place operators share it."""
    found: dict[Node, Node] = {}
    for node in graph.nodes:
        owner = next((source for source in node.all_input_nodes if source in found), None)
        found[node] = found[owner] if owner is not None and shares_memory(node) else node
    return found


def is_tensor(node: Node) -> bool:
    """Whether a node's result is a tensor or several, and not a size."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value))


def shares_memory(node: Node) -> bool:
    """Whether a node's result lies in the memory of what goes in: a view, or an in-place operator."""
    schema = getattr(node.target, "_schema", None)
    returns = schema.returns if schema is not None else ()
    return node.target is operator.getitem or any(result.alias_info for result in returns)


def _reach(start: Iterator[Node] | list[Node], instead: Mapping[Node, Node], found: set[Node]) -> None:
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [instead[node]] if node in instead else node.all_input_nodes


def _matters(
    node: Node, read: Mapping[Node, list[Node]], storage: Mapping[Node, Node], order: Mapping[Node, int]
) -> bool:
    """Whether a node without readers does something that the nodes found so far, with what they read, notice."""
    if not _changes_memory(node):
        return all(source in read for source in node.all_input_nodes)
    target = storage[node]
    if target.op in ("placeholder", "get_attr"):
        return True
    later = (sources for other, sources in read.items() if order[other] > order[node])
    return any(storage[source] is target for sources in later for source in sources)


def _changes_memory(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)
