"""What a model costs for one sample: multiply-accumulates, parameters, memory of its activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import Node

from laconic.graph.capture import Graph
from laconic.graph.liveness import shares_memory
from laconic.graph.macs import products_of
from laconic.graph.operators import target_of
from laconic.graph.weights import weight_names


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of one sample.

    Args:
        macs_by_parameter: canonical name -> multiply-accumulates whose weight it is, over all calls.
        other_macs: multiply-accumulates without a parameter, such as those of attention scores.
        parameter_count: elements of all parameters, tied ones once.
        parameter_bytes: the same in bytes.
        activation_peak_bytes: largest sum of activations alive at once, inputs included, each freed after its last use.
        unknown: operators whose size depends on the values of the data; they count nothing.
    """

    macs_by_parameter: Mapping[str, int]
    other_macs: int
    parameter_count: int
    parameter_bytes: int
    activation_peak_bytes: int
    unknown: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """All multiply-accumulates of one sample."""
        return sum(self.macs_by_parameter.values()) + self.other_macs

    def __str__(self) -> str:
        left_out = f" (without {', '.join(self.unknown)})" if self.unknown else ""
        return f"{self.macs:,} MACs{left_out}, {self.parameter_count:,} parameters, {self.parameter_bytes:,} bytes"


def costs(graph: Graph) -> Costs:
    """Counts what one sample costs.

    Guarantees:
        The result does not depend on the batch size of the example inputs.
        A module that is called twice counts twice; a parameter with two names counts once.

    Example:
        >>> import torch
        >>> from laconic.graph.capture import capture
        >>> print(costs(capture(torch.nn.Linear(3, 2), (torch.zeros(4, 3),))))
        6 MACs, 8 parameters, 32 bytes
    """
    weights = weight_names(graph)
    by_parameter: dict[str, int] = {}
    other, unknown = 0, []
    for node, operands, macs in macs_by_product(graph):
        owner = next((weights[operand] for operand in operands if operand in weights), None)
        if macs is None:
            unknown.append(target_of(node))
        elif owner is None:
            other += macs
        else:
            by_parameter[owner] = by_parameter.get(owner, 0) + macs
    return Costs(
        macs_by_parameter=by_parameter,
        other_macs=other,
        parameter_count=sum(p.numel() for p in graph.parameters.values()),
        parameter_bytes=sum(p.numel() * p.element_size() for p in graph.parameters.values()),
        activation_peak_bytes=_activation_peak(graph),
        unknown=tuple(dict.fromkeys(unknown)),
    )


def macs_by_product(graph: Graph) -> Iterator[tuple[Node, tuple[Node, ...], int | None]]:
    """Yields `(node, operands that may be the weight, MACs of one sample)`; None where data decides the number."""
    weights = weight_names(graph)
    for node in graph.nodes:
        for operands, count in products_of(node):
            yield node, operands, _for_one_sample(graph, count, fixed=node in weights)


def macs_by_node(graph: Graph) -> dict[Node, int]:
    """Returns the multiply-accumulates of one sample in each product; where data decides the number, none."""
    counted: dict[Node, int] = {}
    for node, _, macs in macs_by_product(graph):
        if macs:
            counted[node] = counted.get(node, 0) + macs
    return counted


def _for_one_sample(graph: Graph, amount: Any, *, fixed: bool = False) -> int | None:
    """Evaluates a size for a batch of one; `fixed` says that it does not grow with the batch; None if data decides."""
    if isinstance(amount, int):
        return amount if fixed or graph.dynamic_batch else amount // graph.batch_size
    expression = amount.node.expr.subs({**dict.fromkeys(graph.batch_symbols, 1), **graph.size_symbols})
    return int(expression) if expression.is_number else None


def _activation_peak(graph: Graph) -> int:
    storage = _storages(graph)
    last_use = {
        storage[source]: i for i, n in enumerate(graph.nodes) for source in (n, *n.all_input_nodes) if source in storage
    }
    alive = peak = 0
    for i, node in enumerate(graph.nodes):
        if storage.get(node) is node:
            alive += _result_bytes(graph, node)
        peak = max(peak, alive)
        ends = {storage[source] for source in (node, *node.all_input_nodes) if source in storage}
        alive -= sum(_result_bytes(graph, end) for end in ends if last_use[end] == i and end.op != "placeholder")
    return peak


def _storages(graph: Graph) -> dict[Node, Node]:
    """Returns, for each activation, the node that allocates its memory: views and in-place operators share it."""
    inputs = graph.program.graph_signature.user_inputs
    storage: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            shared = next((storage[source] for source in node.all_input_nodes if source in storage), node)
            storage[node] = shared if shares_memory(node) else node
        elif node.op == "placeholder" and node.name in inputs:
            storage[node] = node
    return storage


def _result_bytes(graph: Graph, node: Node) -> int:
    value = node.meta.get("val")
    results = value if isinstance(value, tuple | list) else (value,)
    return sum((_for_one_sample(graph, t.numel()) or 0) * t.element_size() for t in results if isinstance(t, Tensor))
