"""Operators that cut dimensions into pieces or put pieces together."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.graph.axes.call import Call, Dims, Result, Rule
from laconic.graph.axes.expression import Atom, Expr, Sum, concatenation, product


def slice_of(call: Call) -> Result:
    """A stretch of one dimension, or every n-th index of all of it."""
    dims, at, wanted = call.dims("self"), call.position(), call.shape[call.position()]
    if dims[at].size == wanted:
        return dims
    start, step = _start(call, dims[at].size), call.given.get("step", 1)
    piece = _every(call, dims[at], start, step) if step > 1 else _stretch(call, dims[at], start, wanted)
    return _with(dims, at, piece)


def select(call: Call) -> Result:
    """One index of a dimension: it is frozen and goes away."""
    dims, at = call.dims("self"), call.position()
    call.algebra.freeze(dims[at])
    return _with(dims, at)


def unbind(call: Call) -> Result:
    """All indices of a dimension, each a tensor of its own: it is frozen and goes away."""
    dims, at = call.dims("self"), call.position()
    call.algebra.freeze(dims[at])
    return [_with(dims, at)] * len(call.shapes)


def split(call: Call) -> Result | None:
    """A dimension is the concatenation of its pieces."""
    dims, at = call.dims("self"), call.position()
    sizes = [shape[at] for shape in call.shapes]
    pieces = _pieces(call, dims[at], sizes)
    name = "split_sizes" if "split_sizes" in call.given else "split_size"
    if name in call.given or call.name == "chunk":
        call.follow("chunks" if call.name == "chunk" else name, pieces)
    elif len(sizes) > 1:
        call.algebra.freeze(dims[at])
    return [_with(dims, at, piece) for piece in pieces]


def cat(call: Call) -> Result:
    """The concatenation in one dimension; the others are the same in all pieces."""
    pieces = [call.dims(node) for node in call.given["tensors"]]
    pieces = [dims for dims in pieces if len(dims) == len(call.shape)]
    at = call.given.get("dim", 0) % len(call.shape)
    others = [_with(dims, at) for dims in pieces]
    shared = call.broadcast(others, call.shape[:at] + call.shape[at + 1 :])
    return (*shared[:at], concatenation(*(dims[at] for dims in pieces)), *shared[at:])


def stack(call: Call) -> Result:
    """The pieces become the indices of a new dimension, which stays."""
    pieces = [call.dims(node) for node in call.given["tensors"]]
    at = call.given.get("dim", 0) % len(call.shape)
    shared = call.broadcast(pieces, call.shape[:at] + call.shape[at + 1 :])
    return (*shared[:at], call.algebra.rigid(len(pieces)), *shared[at:])


def pad(call: Call) -> Result:
    """Constants before and after; these can shrink too. Copies of border values are frozen."""
    dims = list(call.dims("self"))
    amounts = call.given["pad"]
    constant = call.given.get("mode", "constant") == "constant"
    follow: list[Expr] = []
    for back in range(1, len(amounts) // 2 + 1):
        before, after = map(call.size_of, amounts[2 * back - 2 : 2 * back])
        padded, ends = _padded(call, dims[-back], before, after, call.shape[-back], constant)
        dims[-back] = padded
        follow += ends
    call.follow("pad", follow)
    return tuple(dims)


def in_place_of(call: Call) -> Result:
    """A piece of the first tensor is replaced by the second: their dimensions are the same."""
    dims, source, at = call.dims("self"), call.dims("src"), call.position()
    if call.name == "select_scatter":
        call.algebra.freeze(dims[at])
        call.broadcast([_with(dims, at), source], call.shape[:at] + call.shape[at + 1 :])
        return dims
    if call.given.get("step", 1) > 1:
        call.algebra.freeze(dims[at])
    else:
        start = _start(call, dims[at].size)
        call.algebra.unify(_stretch(call, dims[at], start, source[at].size), source[at])
    call.broadcast([_with(dims, at), _with(source, at)], call.shape[:at] + call.shape[at + 1 :])
    return dims


def _stretch(call: Call, dim: Expr, start: int, length: int) -> Expr:
    """Returns `dim[start : start + length]`, and lets both ends follow what is cut before them."""
    if isinstance(dim, Atom) and call.algebra.is_frozen(dim):
        return call.algebra.rigid(length)
    if start + length > dim.size:  # As many as the inputs' length says, out of a table with a row a position.
        call.algebra.freeze(dim)
        return call.algebra.rigid(length)
    head = call.algebra.split_sum(dim, start)
    body = head and call.algebra.split_sum(head[1], length)
    if head is None or body is None:
        call.algebra.freeze(dim)
        return call.algebra.rigid(length)
    call.follow("start", head[0])
    if "length" in call.given:
        call.follow("length", body[0])
    else:
        call.follow("end", concatenation(head[0], body[0]))
    return body[0]


def _every(call: Call, dim: Expr, start: int, step: int) -> Expr:
    """Returns `dim[start::step]` as the left factor of (n x step) where that is what it is."""
    halves = call.algebra.split_product(dim, step) if start < step and dim.size % step == 0 else None
    if halves is None or halves[0].size != call.shape[call.position()]:
        call.algebra.freeze(dim)
        return call.algebra.rigid(call.shape[call.position()])
    call.algebra.freeze(halves[1])
    call.follow("end", product(*halves))
    return halves[0]


def _pieces(call: Call, dim: Expr, sizes: Sequence[int]) -> Dims:
    rest, pieces = dim, []
    for size in sizes:
        found = call.algebra.split_sum(rest, size)
        if found is None:
            call.algebra.freeze(dim)
            return call.rigid(sizes)
        pieces.append(found[0])
        rest = found[1]
    return tuple(map(call.algebra.resolve, pieces))


def _padded(call: Call, dim: Expr, before: int, after: int, size: int, constant: bool) -> tuple[Expr, list[Expr]]:
    if before == after == 0:
        return dim, [Sum(()), Sum(())]
    if constant and before >= 0 and after >= 0 and not call.algebra.is_frozen(dim):
        ends = [call.algebra.fresh(before) if before else Sum(()), call.algebra.fresh(after) if after else Sum(())]
        return concatenation(ends[0], dim, ends[1]), ends
    call.algebra.freeze(dim)
    return call.algebra.rigid(size), [call.algebra.rigid(abs(before)), call.algebra.rigid(abs(after))]


def _start(call: Call, size: int) -> int:
    given = call.given.get("start")
    value = 0 if given is None else call.size_of(given)
    return min(max(value + size if value < 0 else value, 0), size)


def _with(dims: Dims, at: int, *new: Expr) -> Dims:
    """Returns the dimensions with the one at a position replaced, or left out."""
    return (*dims[:at], *new, *dims[at + 1 :])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("slice", "narrow"), slice_of),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), split),
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("slice_scatter", "select_scatter"), in_place_of),
    "select": select,
    "unbind": unbind,
    "stack": stack,
}
