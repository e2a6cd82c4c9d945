"""LSTM, GRU and plain recurrent layers: gates are (number of gates x hidden), all layers share the hidden size."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import Node

from laconic.graph.axes.call import Call, Dims, Result, Rule
from laconic.graph.axes.expression import Expr, concatenation, product

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def layers(call: Call) -> Result | None:
    """One hidden state for all layers and directions, since PyTorch stacks them in one tensor."""
    if "input" not in call.given:
        return None
    states = call.given["hx"] if isinstance(call.given["hx"], list | tuple) else [call.given["hx"]]
    hidden, cell = call.dims(states[0]), call.dims(states[-1])
    outputs = concatenation(hidden[-1], hidden[-1]) if call.given["bidirectional"] else hidden[-1]
    dims = call.dims("input")
    entering = dims[-1]
    projected = hidden[-1].size != cell[-1].size
    if projected:
        call.algebra.freeze(cell[-1])  # PyTorch tells a projection by the two sizes, so they may not meet
    else:
        call.algebra.unify(hidden[-1], cell[-1])
    cells = _cells(call, projected=projected)
    directions = 2 if call.given["bidirectional"] else 1
    for i, weights in enumerate(cells):
        _unify_cell(call, weights, entering, hidden[-1], cell[-1])
        entering = outputs if (i + 1) % directions == 0 else entering
    for state in states:
        call.algebra.freeze(*call.dims(state)[:-1])
    call.role("hidden state", hidden[-1], cell[-1])
    return [(*dims[:-1], outputs), *(call.dims(state) for state in states)]


def single_cell(call: Call) -> Result:
    """One time step."""
    states = call.given["hx"] if isinstance(call.given["hx"], list | tuple) else [call.given["hx"]]
    weights = [call.given[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh") if call.has(name)]
    hidden = call.dims(states[0])[-1]
    for state in states[1:]:
        call.algebra.unify(hidden, call.dims(state)[-1])
    _unify_cell(call, weights, call.dims("input")[-1], hidden, hidden)
    call.role("hidden state", hidden)
    results = [call.broadcast([call.dims(state)], shape) for state, shape in zip(states, call.shapes, strict=True)]
    return results if len(results) > 1 else results[0]


def _cells(call: Call, *, projected: bool) -> list[list[Node]]:
    """Returns the weights of each layer and direction, in the order in which they run."""
    parameters = list(call.given["params"])
    each = (4 if call.given["has_biases"] else 2) + projected
    return [parameters[i : i + each] for i in range(0, len(parameters), each)]


def _unify_cell(call: Call, weights: Sequence[Node], entering: Expr, hidden: Expr, cell: Expr) -> None:
    gates = call.algebra.rigid(GATES[call.name.removesuffix("_cell")])
    for node in weights:
        dims = call.dims(node)
        if dims[0].size == gates.size * cell.size and not _is_projection(dims, node, weights):
            call.algebra.unify(dims[0], product(gates, cell))
        else:
            call.algebra.unify(dims[0], hidden)
            call.algebra.unify(dims[1], cell)
    call.algebra.unify(call.dims(weights[0])[1], entering)
    call.algebra.unify(call.dims(weights[1])[1], hidden)


def _is_projection(dims: Dims, node: Node, weights: Sequence[Node]) -> bool:
    """The projection of an LSTM's output is its third or fifth tensor, a matrix among vectors."""
    return len(dims) == 2 and node not in weights[:2]


RULES: dict[str, Rule] = {
    **dict.fromkeys(GATES, layers),
    **dict.fromkeys((f"{name}_cell" for name in GATES), single_cell),
}
