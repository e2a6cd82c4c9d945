"""Which tables the model's inputs index directly: embeddings, and tensors that are indexed like them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from laconic.graph.capture import Graph
from laconic.graph.operators import PASSING, RESHAPING, arguments, name_of

MOVED = PASSING | RESHAPING | {"slice", "narrow", "select", "_to_copy"}
"""What leaves every id as it is."""
COMPARED = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """One operator that picks rows of a table.

    Args:
        node: the operator.
        table: canonical name of the parameter or buffer.
        rows: of the table.
        source: position among the model's flattened inputs of the one that holds the indices; None where the model
            computes them.
        padding: the index whose row gets no gradient, or None.
    """

    node: Node
    table: str
    rows: int
    source: int | None
    padding: int | None


def lookups(graph: Graph) -> tuple[Lookup, ...]:
    """Returns every look-up in the rows of a parameter or buffer, in the order of execution.

    Example:
        >>> import torch
        >>> from laconic.graph.capture import capture
        >>> (found,) = lookups(capture(torch.nn.Embedding(9, 4), (torch.zeros(2, 3, dtype=torch.int64),)))
        >>> found.table, found.rows, found.source
        ('weight', 9, 0)
    """
    inputs = {name: i for i, name in enumerate(graph.program.graph_signature.user_inputs) if isinstance(name, str)}
    return tuple(found for node in graph.nodes if node.op == "call_function" for found in _lookup(graph, node, inputs))


def constants_compared(graph: Graph, source: int) -> frozenset[int]:
    """Returns the numbers that the model itself compares one of its inputs with, such as the id of its padding."""
    name = graph.program.graph_signature.user_inputs[source]
    start = next(node for node in graph.nodes if node.name == name)
    return frozenset(value for node in _readers(start) if name_of(node) in COMPARED for value in _numbers(node))


def _lookup(graph: Graph, node: Node, inputs: dict[str, int]) -> Iterator[Lookup]:
    table, indices = _operands(node)
    if not isinstance(table, Node) or not isinstance(indices, Node):
        return
    held, ids = _origin(table), _origin(indices)
    if held.name in graph.sources and len(held.meta["val"].shape) > 0:
        padding = arguments(node).get("padding_idx", -1)
        yield Lookup(
            node=node,
            table=graph.sources[held.name],
            rows=int(held.meta["val"].shape[0]),
            source=inputs.get(ids.name) if ids.op == "placeholder" else None,
            padding=None if padding is None or padding < 0 else int(padding),
        )


def _operands(node: Node) -> tuple[Any, Any]:
    given, name = arguments(node), name_of(node)
    if name in ("embedding", "embedding_bag", "_embedding_bag"):
        return given["weight"], given["indices"]
    if name == "embedding_renorm":
        return given["self"], given["indices"]
    if name == "index_select" and given["dim"] == 0:
        return given["self"], given["index"]
    if name == "index" and given["indices"][0] is not None and not any(given["indices"][1:]):
        return given["self"], given["indices"][0]
    return None, None


def _origin(node: Node) -> Node:
    while node.op == "call_function" and name_of(node) in MOVED:
        source = node.args[0]
        if not isinstance(source, Node):
            break
        node = source
    return node


def _readers(node: Node) -> Iterator[Node]:
    for reader in node.users:
        if reader.op == "call_function" and name_of(reader) in MOVED:
            yield from _readers(reader)
        else:
            yield reader


def _numbers(node: Node) -> Iterator[int]:
    yield from (int(value) for value in node.args if isinstance(value, int | float))
