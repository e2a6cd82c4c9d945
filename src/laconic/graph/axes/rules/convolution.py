"""Convolutions: with `g` groups the input is (g x i), the output (g x o), so depthwise needs no case of its own."""

from __future__ import annotations

from laconic.graph.axes.call import Call, Dims, Result, Rule
from laconic.graph.axes.expression import Expr, product


def convolution(call: Call) -> Result:
    """Weight `[o, i / g, kernel...]`."""
    if call.given.get("transposed"):
        return transposed_convolution(call)
    dims, weight = call.dims("input"), call.dims("weight")
    at = len(dims) - len(weight) + 1
    groups = _groups(call)
    per_group = call.algebra.fresh(weight[0].size // groups.size)
    call.algebra.unify(dims[at], product(groups, weight[1]))
    call.algebra.unify(weight[0], product(groups, per_group))
    return _finish(call, dims, at, weight[0])


def transposed_convolution(call: Call) -> Result:
    """Weight `[i, o / g, kernel...]`."""
    dims, weight = call.dims("input"), call.dims("weight")
    at = len(dims) - len(weight) + 1
    groups = _groups(call)
    per_group = call.algebra.fresh(weight[0].size // groups.size)
    call.algebra.unify(weight[0], product(groups, per_group))
    call.algebra.unify(dims[at], weight[0])
    return _finish(call, dims, at, product(groups, weight[1]))


def _groups(call: Call) -> Expr:
    groups = call.algebra.fresh(call.size_of(call.given["groups"]))
    call.follow("groups", groups)
    return groups


def _finish(call: Call, dims: Dims, at: int, channels: Expr) -> Dims:
    """Freezes kernel positions and space, and adds the bias."""
    kernel = call.dims("weight")[2:]
    call.algebra.freeze(*kernel)
    call.role("channels", channels, dims[at])
    if call.has("bias"):
        call.algebra.unify(channels, call.dims("bias")[0])
    space = dims[at + 1 :]
    if any(k.size != 1 for k in kernel) or call.shape[at + 1 :] != tuple(d.size for d in space):
        call.algebra.freeze(*space)
        space = call.rigid(call.shape[at + 1 :])
    return (*dims[:at], channels, *space)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), transposed_convolution),
}
