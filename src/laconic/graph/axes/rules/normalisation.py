"""Normalisations: scale and shift belong to the channels; what a mean runs over is noted."""

from __future__ import annotations

from laconic.graph.axes.call import Call, Result, Rule
from laconic.graph.axes.expression import Expr, product

CHANNEL_TENSORS = ("weight", "bias", "running_mean", "running_var")


def per_channel(call: Call) -> Result:
    """Batch and instance normalisation: dimension 1 has scale, shift and running statistics."""
    dims = call.dims("input")
    _channels(call, dims[1] if len(dims) > 1 else dims[0])
    if call.name == "instance_norm":
        call.statistic(*dims[2:])
    elif call.given["training"]:
        call.statistic(dims[0], *dims[2:])
    return dims


def over_last(call: Call) -> Result:
    """Layer and RMS normalisation run over the last dimensions."""
    dims = call.dims("input")
    count = len(call.given["normalized_shape"])
    last = dims[len(dims) - count :]
    for name in ("weight", "bias"):
        if call.has(name):
            for dim, own in zip(last, call.dims(name), strict=True):
                call.algebra.unify(dim, own)
    call.statistic(*last)
    call.follow("normalized_shape", last)
    return dims


def group_norm(call: Call) -> Result:
    """Dimension 1 is (groups x channels of a group); the mean runs over a group and space."""
    dims = call.dims("input")
    groups = call.algebra.fresh(call.given["num_groups"])
    within = call.algebra.fresh(dims[1].size // groups.size)
    call.algebra.unify(dims[1], product(groups, within))
    call.follow("num_groups", groups)
    call.statistic(within, *dims[2:])
    _channels(call, dims[1])
    return dims


def weight_norm(call: Call) -> Result:
    """`g * v / |v|`: the norm runs over all dimensions of `v` but one."""
    direction, scale = call.dims("v"), call.dims("g")
    call.statistic(*direction)
    return call.broadcast([direction, scale], call.shape)


def _channels(call: Call, channels: Expr) -> None:
    for name in CHANNEL_TENSORS:
        if call.has(name):
            call.algebra.unify(channels, call.dims(name)[0])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("batch_norm", "instance_norm"), per_channel),
    **dict.fromkeys(("layer_norm", "rms_norm"), over_last),
    "group_norm": group_norm,
    "_weight_norm": weight_norm,
}
