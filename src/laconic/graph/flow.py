"""What follows each weighted operator: where its result goes before the next one reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch.fx import Node

from laconic.graph.capture import Graph
from laconic.graph.macs import products_of
from laconic.graph.operators import (
    ACTIVATIONS,
    CONVOLUTIONS,
    PASSING,
    RESHAPING,
    SELECTING,
    TRANSPOSED_CONVOLUTIONS,
    module_of,
    name_of,
    target_of,
)
from laconic.graph.weights import weight_names

Kind = Literal["linear", "conv", "conv_transpose"]
LINEAR = frozenset({"linear", "addmm", "mm", "matmul", "einsum", "bmm", "baddbmm", "mv", "addmv"})
FOLLOWING = ACTIVATIONS | PASSING | {"batch_norm"}


@dataclass(frozen=True)
class Op:
    """One operator call.

    Args:
        node: name of the graph's node.
        target: the operator, such as `aten.relu.default`; `output` for the model's result.
        module: path of the module that owns the call.
        parameter: canonical name of the weight it multiplies by, for a weighted linear operator, else None.
    """

    node: str
    target: str
    module: str
    parameter: str | None = None


@dataclass(frozen=True)
class Call:
    """One call of a weighted linear operator and what comes after it.

    Args:
        op: the call; its parameter is set.
        parameter: canonical name of the weight.
        module: path of the module that owns the call; two calls of a shared module have the same.
        kind: `linear`, `conv` or `conv_transpose`.
        chain: batch normalisations, activations and operators that pass values on unchanged that directly follow, each
            the only reader of the one before.
        consumers: who reads the end of the chain; operators that only move or select values are looked through.
    """

    op: Op
    parameter: str
    module: str
    kind: Kind
    chain: tuple[Op, ...]
    consumers: tuple[Op, ...]


def weighted_calls(graph: Graph) -> tuple[Call, ...]:
    """Returns every call of a linear layer or convolution whose weight comes from a parameter, in order of execution.

    Example:
        >>> import torch
        >>> from laconic.graph.capture import capture
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> first, second = weighted_calls(capture(model, (torch.zeros(5, 3),)))
        >>> first.parameter, [op.target for op in first.chain], [op.parameter for op in first.consumers]
        ('0.weight', ['aten.relu.default'], ['2.weight'])
    """
    weights = weight_names(graph)
    parameters = {node: name for node, name in weights.items() if name in graph.parameters}
    return tuple(
        _call(node, kind, parameters)
        for node in graph.nodes
        if node not in weights and (kind := _kind(node)) and _parameter(node, parameters)
    )


def called_once(graph: Graph) -> frozenset[str]:
    """Returns the paths of the modules that own exactly one operator call, such as a ReLU that is not shared."""
    counts = Counter(module_of(node) for node in graph.nodes if node.op == "call_function")
    return frozenset(path for path, count in counts.items() if count == 1)


def _call(node: Node, kind: Kind, parameters: Mapping[Node, str]) -> Call:
    chain = _chain(node)
    op = _op(node, parameters)
    end = chain[-1] if chain else node
    return Call(
        op=op,
        parameter=op.parameter or "",
        module=op.module,
        kind=kind,
        chain=tuple(_op(link, parameters) for link in chain),
        consumers=tuple(_op(reader, parameters) for reader in _readers(end)),
    )


def _kind(node: Node) -> Kind | None:
    name = name_of(node)
    if name in CONVOLUTIONS:
        return "conv_transpose" if name == "convolution" and node.args[6] else "conv"
    if name in TRANSPOSED_CONVOLUTIONS:
        return "conv_transpose"
    return "linear" if name in LINEAR else None


def _parameter(node: Node, parameters: Mapping[Node, str]) -> str | None:
    operands = [operand for candidates, _ in products_of(node) for operand in candidates]
    return next((parameters[operand] for operand in operands if operand in parameters), None)


def _op(node: Node, parameters: Mapping[Node, str]) -> Op:
    return Op(node.name, target_of(node), module_of(node), _parameter(node, parameters))


def _chain(node: Node) -> list[Node]:
    chain: list[Node] = []
    end = node
    while len(end.users) == 1 and name_of(reader := next(iter(end.users))) in FOLLOWING and reader.args[0] is end:
        chain.append(reader)
        end = reader
    return chain


def _readers(node: Node) -> list[Node]:
    """Returns who reads a node's values, seen through operators that move or select them, in the order of execution."""
    found: list[Node] = []
    for reader in node.users:
        found += _readers(reader) if name_of(reader) in RESHAPING | SELECTING else [reader]
    return list(dict.fromkeys(found))
