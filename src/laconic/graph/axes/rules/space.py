"""Operators over space: pooling, resizing, unfolding, pixel shuffle. Channels pass, positions stay."""

from __future__ import annotations

from laconic.graph.axes.call import Call, Result, Rule
from laconic.graph.axes.expression import product
from laconic.graph.operators import POOLINGS

RESIZINGS = frozenset(
    {"upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"}
    | {f"{kind}{n}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for n in (1, 2, 3)}
    | {"_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"}
    | {f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)}
)


def over_space(call: Call) -> Result:
    """As many last dimensions as the operator's name says are frozen and get new sizes."""
    dims = call.dims(call.tensors[0])
    count = int(next(c for c in reversed(call.name) if c.isdigit()))
    call.algebra.freeze(*dims[len(dims) - count :])
    results = [(*dims[: len(dims) - count], *call.rigid(shape[len(shape) - count :])) for shape in call.shapes]
    return results if isinstance(call.node.meta["val"], tuple | list) else results[0]


def grid_sample(call: Call) -> Result:
    """Positions named by a grid."""
    dims = call.dims("input")
    call.algebra.freeze(*dims[2:], *call.dims("grid"))
    return (*dims[:2], *call.rigid(call.shape[2:]))


def pixel_shuffle(call: Call) -> Result:
    """Channels (c x r x r) become c channels on a grid r times as fine."""
    *batch, channels, _, _ = dims = call.dims("self")
    factor = call.given["upscale_factor"]
    fewer = call.algebra.fresh(channels.size // factor**2)
    call.algebra.freeze(*dims[-2:])
    call.algebra.unify(channels, product(fewer, *call.rigid((factor, factor))))
    return (*batch, fewer, *call.rigid(call.shape[-2:]))


def pixel_unshuffle(call: Call) -> Result:
    """Channels c become (c x r x r) on a grid r times as coarse."""
    *batch, channels, _, _ = dims = call.dims("self")
    factor = call.given["downscale_factor"]
    call.algebra.freeze(*dims[-2:])
    return (*batch, product(channels, *call.rigid((factor, factor))), *call.rigid(call.shape[-2:]))


def channel_shuffle(call: Call) -> Result:
    """Channels (g x c) become (c x g)."""
    dims = call.dims("self")
    groups = call.algebra.fresh(call.given["groups"])
    within = call.algebra.fresh(dims[1].size // groups.size)
    call.algebra.unify(dims[1], product(groups, within))
    call.follow("groups", groups)
    return (dims[0], product(within, groups), *dims[2:])


def windows(call: Call) -> Result:
    """Sliding windows over one dimension: it is frozen, the window comes last."""
    dims = call.dims("self")
    at = call.position("dimension")
    call.algebra.freeze(dims[at])
    return (*dims[:at], call.algebra.rigid(call.shape[at]), *dims[at + 1 :], call.algebra.rigid(call.shape[-1]))


def patches(call: Call) -> Result:
    """Channels c become (c x kernel positions), space becomes a list of patches."""
    *batch, channels, _, _ = dims = call.dims("self")
    call.algebra.freeze(*dims[-2:])
    kernel = call.rigid(call.given["kernel_size"])
    return (*batch, product(channels, *kernel), call.algebra.rigid(call.shape[-1]))


def unpatches(call: Call) -> Result:
    """Channels (c x kernel positions) become c, a list of patches becomes space."""
    *batch, rows, places = call.dims("self")
    channels = call.algebra.fresh(call.shape[-3])
    call.algebra.freeze(places)
    call.algebra.unify(rows, product(channels, *call.rigid(call.given["kernel_size"])))
    return (*batch, channels, *call.rigid(call.shape[-2:]))


RULES: dict[str, Rule] = {
    **dict.fromkeys(POOLINGS | RESIZINGS, over_space),
    **dict.fromkeys((f"max_pool{n}d_with_indices" for n in (1, 2, 3)), over_space),
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), grid_sample),
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
    "unfold": windows,
    "im2col": patches,
    "col2im": unpatches,
}
