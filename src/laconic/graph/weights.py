"""Which node is a weight: computed from parameters and constants alone, never from the model's input."""

from __future__ import annotations

from collections.abc import Mapping

from torch.fx import Node

from laconic.graph.capture import Graph


def weight_names(graph: Graph) -> Mapping[Node, str]:
    """Returns, for each node that is a weight, the parameter or buffer it comes from.

    A weight that is computed from several (weight normalisation, a low-rank product) counts as the largest of them.
    Constants that come from no parameter or buffer are left out.
    """
    names: dict[Node, str] = {}
    varying: set[Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            if node.name in graph.sources:
                names[node] = graph.sources[node.name]
            elif node.name in graph.program.graph_signature.user_inputs:
                varying.add(node)
            continue
        if varying.intersection(node.all_input_nodes):
            varying.add(node)
            continue
        origins = [names[source] for source in node.all_input_nodes if source in names]
        if origins and node.op == "call_function":
            names[node] = max(origins, key=lambda name: graph.tensors[name].numel())
    return names
