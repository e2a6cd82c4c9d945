"""Look-ups by index: the dimension that is looked up in is frozen, the others pass."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from laconic.graph.axes.call import Call, Dims, Result, Rule
from laconic.graph.axes.expression import Expr


def embedding(call: Call) -> Result:
    """Table `[rows, width]`, any shape of indices: the width comes last."""
    rows, width = call.dims("weight")
    call.algebra.freeze(rows)
    call.role("embedding width", width)
    return (*call.dims("indices"), width)


def embedding_bag(call: Call) -> Result:
    """Sums or means of rows; the bookkeeping outputs are frozen."""
    rows, width = call.dims("weight")
    call.algebra.freeze(rows, *call.dims("indices"), *call.dims("offsets"))
    call.role("embedding width", width)
    bags = call.algebra.rigid(call.shape[0])
    return [(bags, width), *(call.rigid(shape) for shape in call.shapes[1:])]


def index_select(call: Call) -> Result:
    """Any indices of one dimension."""
    dims, at = call.dims("self"), call.position()
    _point(call, call.given["index"], dims[at])
    return (*dims[:at], call.algebra.rigid(call.shape[at]), *dims[at + 1 :])


def index(call: Call) -> Result | None:
    """Index tensors for some dimensions; their own, broadcast, shape takes the place of these."""
    indexed = _indexed(call)
    if indexed is None:
        return None
    dims, values = call.dims("self"), call.pointed_at(call.given["self"])
    for d, node in indexed.items():
        _point(call, node, dims[d])
    if values is not None:
        call.notes.positions[call.node] = values
    return _looked_up(call, dims, indexed)


def index_put(call: Call) -> Result | None:
    """The positions that index tensors name take new values; these are broadcast there."""
    indexed = _indexed(call)
    if indexed is None:
        return None
    dims = call.dims("self")
    call.algebra.freeze(*(dims[d] for d in indexed))
    places = _looked_up(call, dims, indexed)
    call.broadcast([places, call.dims("values")], [d.size for d in places])
    return dims


def gather(call: Call) -> Result:
    """Picks along one dimension; index and source agree in the others, or what does not is frozen."""
    dims, picked, at = call.dims("self"), call.dims("index"), call.position()
    _point(call, call.given["index"], dims[at])
    call.algebra.freeze(picked[at])
    for i, (dim, other) in enumerate(zip(dims, picked, strict=True)):
        if i != at:
            call.algebra.unify(dim, other)
    return picked


def take_along(call: Call) -> Result | None:
    """Like `gather`, with the other dimensions broadcast."""
    if call.given["dim"] is None:
        return None
    dims, picked, at = call.dims("self"), call.dims("indices"), call.position()
    call.algebra.freeze(dims[at], picked[at])
    others, chosen = ((*d[:at], *d[at + 1 :]) for d in (dims, picked))
    shared = call.broadcast([others, chosen], call.shape[:at] + call.shape[at + 1 :])
    return (*shared[:at], picked[at], *shared[at:])


def scatter(call: Call) -> Result:
    """Writes along one dimension; index, source and target agree in the others, or what does not is frozen."""
    dims, at = call.dims("self"), call.position()
    _point(call, call.given["index"], dims[at])
    for name in ("index", "src"):
        other = call.dims(name) if call.has(name) else ()
        for i, (dim, own) in enumerate(zip(dims, other, strict=False)):
            if i == at:
                call.algebra.freeze(own)
            else:
                call.algebra.unify(dim, own)
    return dims


def along(call: Call) -> Result:
    """Adds or copies slices to named positions of one dimension."""
    dims, at = call.dims("self"), call.position()
    call.algebra.freeze(dims[at], *call.dims("index"))
    if call.has("source"):
        source = call.dims("source")
        call.algebra.freeze(source[at])
        for i, (dim, own) in enumerate(zip(dims, source, strict=True)):
            if i != at:
                call.algebra.unify(dim, own)
    return dims


def _point(call: Call, index: Any, dim: Expr) -> None:
    """An index into the dimension that its values are from follows it; any other freezes the dimension."""
    expr = call.pointed_at(index)
    if expr is not None and expr.size == dim.size:
        call.algebra.unify(dim, expr)
        return
    call.algebra.freeze(dim, *([] if expr is None else [expr]))


def _indexed(call: Call) -> dict[int, Node] | None:
    """Returns dimension -> index tensor; None for boolean masks, whose result has a size of its own."""
    found = {d: node for d, node in enumerate(call.given["indices"]) if node is not None}
    masks = [node for node in found.values() if node.meta["val"].dtype in (torch.bool, torch.uint8)]
    return None if masks or not found else found


def _looked_up(call: Call, dims: Dims, indexed: dict[int, Node]) -> Dims:
    """Returns the dimensions of `x[indices]`: those of the indices stand first, or in place if they are neighbours."""
    picked = [call.dims(node) for node in indexed.values()]
    rank = max(map(len, picked))
    first, last = min(indexed), max(indexed)
    at = first if last - first + 1 == len(indexed) else 0
    sizes = [max(p[-back].size for p in picked if len(p) >= back) for back in range(rank, 0, -1)]
    shared = call.broadcast(picked, sizes)
    rest = [dim for d, dim in enumerate(dims) if d not in indexed]
    return (*rest[:at], *shared, *rest[at:])


RULES: dict[str, Rule] = {
    "gather": gather,
    "take_along_dim": take_along,
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), scatter),
    **dict.fromkeys(("index_add", "index_copy", "index_fill"), along),
    "embedding": embedding,
    "embedding_bag": embedding_bag,
    "index_select": index_select,
    "index": index,
    "index_put": index_put,
}
