"""Operators that run over whole dimensions: sums, means, softmax, sorting."""

from __future__ import annotations

import operator

from laconic.graph.axes.call import Call, Dims, Result, Rule
from laconic.graph.axes.expression import ONE

FOURIER = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")


def statistic(call: Call) -> Result:
    """The dimensions go, or become one; whatever is cut from them no longer takes part."""
    dims = call.dims("self")
    over = call.positions()
    call.statistic(*(dims[d] for d in over))
    results = [_reduced(dims, over, len(shape)) for shape in call.shapes]
    return results if isinstance(call.node.meta["val"], tuple | list) else results[0]


def position(call: Call) -> Result:
    """The result names positions, so the dimensions that are searched are frozen."""
    call.algebra.freeze(*(call.dims("self")[d] for d in call.positions()))
    return statistic(call)


def extreme(call: Call) -> Result:
    """A maximum, with its position or of everything; a position that nobody reads freezes nothing."""
    read = any(user.target is operator.getitem and user.args[1] == 1 and user.users for user in call.node.users)
    return position(call) if read else statistic(call)


def softmax(call: Call) -> Result:
    """Every value depends on all of its dimension."""
    dims = call.dims("self")
    call.statistic(dims[call.position()])
    return dims


def ordered(call: Call) -> Result:
    """Sorting and running products: the order of the dimension matters, it is frozen.

    Indices that are sorted are still indices: those that are left keep their order.
    """
    dims, at = call.dims("self"), call.position()
    call.algebra.freeze(dims[at])
    expr = call.pointed_at(call.given["self"])
    for user in call.node.users:
        if expr is not None and user.target is operator.getitem and user.args[1] == 0:
            call.notes.positions[user] = expr
    results = [(*dims[:at], call.algebra.rigid(shape[at]), *dims[at + 1 :]) for shape in call.shapes]
    return results if isinstance(call.node.meta["val"], tuple | list) else results[0]


def running(call: Call) -> Result:
    """Sums up to each index: of what is kept, once something is cut."""
    dims = call.dims("self")
    call.statistic(dims[call.position()])
    return dims


def spectrum(call: Call) -> Result:
    """A Fourier transform: the dimensions that it runs over are frozen, all others pass."""
    dims = list(call.dims("self"))
    for at in call.positions():
        call.algebra.freeze(dims[at])
        dims[at] = call.algebra.rigid(call.shape[at])
    return tuple(dims)


def _reduced(dims: Dims, over: list[int], rank: int) -> Dims:
    if rank == len(dims):
        return tuple(ONE if d in over else dim for d, dim in enumerate(dims))
    return tuple(dim for d, dim in enumerate(dims) if d not in over)


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        {"mean", "sum", "prod", "amax", "amin", "var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm"}
        | {"frobenius_norm", "logsumexp", "any", "all", "count_nonzero", "nanmean", "nansum"},
        statistic,
    ),
    **dict.fromkeys(("argmax", "argmin", "median", "mode"), position),
    **dict.fromkeys(("max", "min"), extreme),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "special_softmax"), softmax),
    **dict.fromkeys(("sort", "argsort", "cumprod", "cummax", "cummin", "logcumsumexp"), ordered),
    "cumsum": running,
    **dict.fromkeys((f"fft_{kind}{rank}" for kind in FOURIER for rank in ("", "2", "n")), spectrum),
}
