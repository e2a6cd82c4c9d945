"""Operators that choose some indices of a dimension, such as the experts of a mixture, and say which they took."""

from __future__ import annotations

import operator

from laconic.graph.axes.call import Call, Result, Rule
from laconic.graph.axes.expression import Atom
from laconic.graph.axes.rules.reduction import ordered


def topk(call: Call) -> Result:
    """The largest of a dimension, which may shrink down to their number: what is cut is never among them."""
    dims, at, count = call.dims("self"), call.position(), call.given["k"]
    if not isinstance(dims[at], Atom) or not isinstance(count, int) or not call.given["largest"]:
        return ordered(call)
    call.statistic(dims[at])
    call.role("experts", dims[at])
    call.notes.least.append((dims[at], count))
    for user in call.node.users:
        if user.target is operator.getitem and user.args[1] == 1:
            call.notes.positions[user] = dims[at]
    found = (*dims[:at], call.algebra.rigid(count), *dims[at + 1 :])
    return [found, found]


def one_hot(call: Call) -> Result | None:
    """A new last dimension: the one whose indices the values are."""
    expr = call.pointed_at(call.given["self"])
    if expr is None or expr.size != call.shape[-1]:
        return None
    call.follow("num_classes", expr)
    return (*call.dims("self"), expr)


def histogram(call: Call) -> Result | None:
    """How often each index occurs, where there is one bin for each."""
    expr, given = call.pointed_at(call.given["self"]), call.given
    if expr is None:
        return None
    if (given["bins"], given["min"], given["max"]) != (expr.size, 0, expr.size - 1):
        call.algebra.freeze(expr)
        return None
    call.algebra.freeze(*call.dims("self"))
    call.follow("bins", expr)
    call.follow("max", expr)
    return (expr,)


RULES: dict[str, Rule] = {"topk": topk, "one_hot": one_hot, "histc": histogram}
