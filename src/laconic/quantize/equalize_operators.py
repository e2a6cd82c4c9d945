"""Which operators a scale passes: a table, whose default is that it does not."""

from __future__ import annotations

import operator

from torch import Tensor
from torch.fx import Node

from laconic.graph.folding import CHECKS
from laconic.graph.operators import PASSING, POOLINGS, RESHAPING, arguments, name_of

WEIGHTED = {
    "linear": ("input", "weight", 1, 0, "bias"),
    "addmm": ("mat1", "mat2", 0, 1, "self"),
    **{f"conv{n}d": ("input", "weight", 1, 0, "bias") for n in (1, 2, 3)},
}
"""Operator -> its input, its weight, the weight's dimensions of inputs and of outputs, its bias."""
NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
HOMOGENEOUS = (
    (PASSING - {"alpha_dropout"})
    | (RESHAPING | {"split", "split_with_sizes", "chunk", "slice", "_to_copy", "squeeze_copy"})
    | {kind for kind in POOLINGS if not kind.startswith("adaptive_max")}
    | {"relu", "leaky_relu", "prelu", "abs", "neg", "mean", "sum", "amax", "roll", "flip", "repeat", "div"}
    | {"upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d", "pixel_shuffle", "pixel_unshuffle"}
)
"""`f(s x) = s f(x)` for positive s, in the first argument. What is not listed here or above is held not to be so."""
SIZES = CHECKS | {"sym_size"}
"""What reads the shape of values alone."""


def is_homogeneous(node: Node, value: Node | None = None) -> bool:
    """Whether scaling its first argument scales an operator's result; a value, if given, has to be that argument."""
    if node.target is operator.getitem:
        return True
    given = arguments(node) if node.op == "call_function" else {}
    listed = name_of(node) in HOMOGENEOUS and given.get("rounding_mode") is None
    listed = listed or (name_of(node) == "pad" and not given.get("value"))
    return listed and (value is None or [a for a in node.args if a is value] == [node.args[0]])


def is_real(node: Node) -> bool:
    """Whether a result is of floating point."""
    value = node.meta.get("val")
    results = value if isinstance(value, tuple | list) else (value,)
    return all(isinstance(t, Tensor) and t.dtype.is_floating_point for t in results)
