"""Operators that move, merge, split or repeat dimensions without computing anything."""

from __future__ import annotations

from laconic.graph.axes.call import Call, Result, Rule
from laconic.graph.axes.expression import ONE, Expr, product


def permute(call: Call) -> Result:
    """Dimensions change places."""
    dims = call.dims("self")
    return tuple(dims[d] for d in call.positions("dims"))


def transpose(call: Call) -> Result:
    """Two dimensions change places; without arguments the last two."""
    dims = list(call.dims("self"))
    if len(dims) < 2:
        return tuple(dims)
    names = ("dim0", "dim1") if call.name == "transpose" else ("axis0", "axis1")
    a, b = (
        call.position(name) if name in call.given else default for name, default in zip(names, (-2, -1), strict=True)
    )
    dims[a], dims[b] = dims[b], dims[a]
    return tuple(dims)


def reverse(call: Call) -> Result:
    """All dimensions in the opposite order."""
    return tuple(reversed(call.dims("self")))


def movedim(call: Call) -> Result:
    """Some dimensions go elsewhere, the others keep their order."""
    dims = call.dims("self")
    sources, targets = call.positions("source"), call.positions("destination")
    placed = dict(zip(targets, sources, strict=True))
    others = iter([d for d in range(len(dims)) if d not in sources])
    return tuple(dims[placed[i] if i in placed else next(others)] for i in range(len(dims)))


def view(call: Call) -> Result:
    """Regroups the row-major order of all elements."""
    dims = call.algebra.regroup(call.dims("self"), call.shape)
    name = next((n for n in ("size", "shape", "sizes") if n in call.given), None)
    if name == "sizes":
        start = call.position()
        call.follow(name, dims[start : start + len(call.given[name])])
    elif name is not None:
        call.follow(name, dims)
    return dims


def unsqueeze(call: Call) -> Result:
    """A dimension of one is put in."""
    dims = call.dims("self")
    at = call.position(rank=len(dims) + 1)
    return (*dims[:at], ONE, *dims[at:])


def squeeze(call: Call) -> Result:
    """Dimensions of one are taken out."""
    dims = call.dims("self")
    candidates = call.positions()
    return tuple(dim for i, dim in enumerate(dims) if i not in candidates or dim.size != 1)


def expand(call: Call) -> Result:
    """Dimensions of one are repeated without a copy: a new dimension each, which can shrink."""
    dims = call.dims("self")
    padded = (ONE,) * (len(call.shape) - len(dims)) + dims
    out = tuple(
        dim if dim.size == size else call.algebra.fresh(size) for dim, size in zip(padded, call.shape, strict=True)
    )
    if "size" in call.given:
        call.follow("size", out)
    elif call.has("other"):
        out = call.broadcast([out, call.dims("other")], call.shape)
    return out


def repeat(call: Call) -> Result:
    """The whole of a dimension comes several times: a product with the number of times on the left."""
    name = "dims" if call.name == "tile" else "repeats"
    dims = call.dims("self")
    padded = (ONE,) * (len(call.shape) - len(dims)) + dims
    times = tuple(_times(call, dim, size) for dim, size in zip(padded, call.shape, strict=True))
    call.follow(name, times[len(times) - len(call.given[name]) :])
    return tuple(product(n, dim) for n, dim in zip(times, padded, strict=True))


def repeat_interleave(call: Call) -> Result | None:
    """Every index comes several times in a row: a product with the number of times on the right."""
    if not isinstance(call.given["repeats"], int) or call.given["dim"] is None:
        return None
    dims, at = call.dims("self"), call.position()
    times = call.algebra.fresh(call.given["repeats"])
    repeated = product(dims[at], times)
    call.follow("repeats", times)
    if call.given.get("output_size") is not None:
        call.follow("output_size", repeated)
    return (*dims[:at], repeated, *dims[at + 1 :])


def shift(call: Call) -> Result:
    """The order of a dimension matters: it is frozen, all others pass."""
    dims = call.dims("self")
    for d in call.positions("dims"):
        call.algebra.freeze(dims[d])
    return dims


def _times(call: Call, dim: Expr, size: int) -> Expr:
    return call.algebra.fresh(size // dim.size) if dim.size else ONE


RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten", "view_as", "reshape_as"), view),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "mT", "adjoint", "mH"), transpose),
    **dict.fromkeys(("numpy_T",), reverse),
    **dict.fromkeys(("movedim", "moveaxis"), movedim),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), expand),
    **dict.fromkeys(("repeat", "tile"), repeat),
    **dict.fromkeys(("roll", "flip"), shift),
    "permute": permute,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "repeat_interleave": repeat_interleave,
}
