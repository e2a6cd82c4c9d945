"""Operators that work index by index: every dimension keeps its place, with broadcasting."""

from __future__ import annotations

import torch
from torch.fx import Node

from laconic.graph.axes.call import Call, Result, Rule

UNTAGGED = (
    {"dropout", "feature_dropout", "alpha_dropout", "masked_fill", "to", "_to_copy", "type_as", "detach", "alias"}
    | {"contiguous", "lift_fresh_copy", "log_sigmoid", "hardswish", "hardsigmoid", "relu6", "where", "rsub", "fmod"}
    | {"floor_divide", "true_divide", "divide", "multiply", "subtract", "negative", "polar", "complex", "real", "imag"}
    | {"__and__", "__or__", "__xor__", "greater", "less", "greater_equal", "less_equal", "not_equal", "bernoulli"}
    | {
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "rand_like",
        "randn_like",
        "positive",
        "conj",
        "resolve_conj",
    }
    | {
        "arctan",
        "arcsin",
        "arccos",
        "absolute",
        "rrelu",
        "isfinite",
        "isinf",
        "special_expit",
        "softshrink",
        "hardshrink",
        "softsign",
        "tanhshrink",
        "threshold",
    }
)
"""Element-wise operators that PyTorch does not tag as such."""


def is_elementwise(node: Node) -> bool:
    """Whether an operator works index by index."""
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


def elementwise(call: Call) -> Result:
    """Unifies all operands; a sum of activations that were not yet the same is what residual streams are made of."""
    operands = [call.dims(node) for node in call.tensors]
    varying = {call.dims(node) for node in call.tensors if node not in call.weights}
    dims = call.broadcast(operands, call.shape)
    if call.name == "add" and len(varying) == 2:
        call.role("residual stream", *dims)
    return dims


def in_place(call: Call) -> Result:
    """The target keeps its shape; the source is broadcast into it."""
    target = call.dims(call.node.args[0]) if isinstance(call.node.args[0], Node) else ()
    return call.broadcast([target, *(call.dims(node) for node in call.tensors)], call.shape)


def prelu(call: Call) -> Result:
    """One slope for all, or one a channel."""
    dims, slope = call.dims("self"), call.dims("weight")
    if slope and slope[0].size > 1 and len(dims) > 1:
        call.algebra.unify(dims[1], slope[0])
    return dims


def glu(call: Call) -> Result | None:
    """The first half times a gate made of the second: both are one dimension."""
    dims, at = call.dims("self"), call.position()
    halves = call.algebra.split_sum(dims[at], dims[at].size // 2)
    if halves is None:
        return None
    call.algebra.unify(*halves)
    return (*dims[:at], call.algebra.resolve(halves[0]), *dims[at + 1 :])


def complex_pairs(call: Call) -> Result:
    """Real and imaginary part form a last dimension of two, which stays."""
    dims = call.dims("self")
    if call.name == "view_as_complex":
        call.algebra.freeze(dims[-1])
        return dims[:-1]
    return (*dims, call.algebra.rigid(2))


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNTAGGED, elementwise),
    **dict.fromkeys(("copy", "fill", "zero"), in_place),
    "prelu": prelu,
    "glu": glu,
    "view_as_complex": complex_pairs,
    "view_as_real": complex_pairs,
}
