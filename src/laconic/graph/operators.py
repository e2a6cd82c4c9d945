"""What ATen operators do, by name: the few families that several analyses need to tell apart."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "convolution"})
TRANSPOSED_CONVOLUTIONS = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
)
ATTENTION = "scaled_dot_product_attention"
POOLINGS = frozenset(
    {f"{kind}{n}d" for kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool") for n in (1, 2, 3)}
)
ACTIVATIONS = frozenset(
    {"relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "hardsigmoid"}
    | {"hardswish", "hardtanh", "tanh", "softplus", "log_sigmoid", "clamp", "clamp_min", "clamp_max"}
)
PASSING = frozenset(
    {"dropout", "alpha_dropout", "feature_dropout", "clone", "contiguous", "detach", "to", "alias", "lift_fresh_copy"}
)
RESHAPING = frozenset(
    {"view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand"}
    | {"permute", "transpose", "t", "movedim"}
)
# Each result is one of the values that went in, so whatever holds for all of those holds for it.
SELECTING = frozenset({"max_pool1d", "max_pool2d", "max_pool3d"})


def name_of(node: Node) -> str:
    """Returns the operator's name without namespace, overload and in-place mark: `aten.relu_.default` is `relu`."""
    packet = getattr(node.target, "overloadpacket", None)
    if packet is None:
        return str(getattr(node.target, "__name__", node.target))
    name = str(packet.__name__)
    return name if name.startswith("_") else name.rstrip("_")


def target_of(node: Node) -> str:
    """Returns the full name of what a node does: `aten.relu.default`, or the kind of node where it calls nothing."""
    return str(node.target) if node.op == "call_function" else node.op


def arguments(node: Node) -> dict[str, Any]:
    """Returns the arguments of an operator by the names in its schema and in its order, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    given = {**dict(zip((a.name for a in schema.arguments), node.args, strict=False)), **node.kwargs}
    names = [a.name for a in schema.arguments if a.name in given or a.has_default_value()]
    defaults = {a.name: a.default_value for a in schema.arguments}
    return {name: given.get(name, defaults[name]) for name in names}


def module_of(node: Node) -> str:
    """Returns the path of the innermost user module that a node was recorded in; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(list(stack.values())[-1][0]) if stack else ""
    return "" if path.startswith("_empty_nn_module_stack") else path
