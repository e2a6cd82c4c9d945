"""Operators that make tensors of one value: their sizes follow whatever they are combined with."""

from __future__ import annotations

from laconic.graph.axes.call import Call, Result, Rule


def filled(call: Call) -> Result:
    """Every dimension is new and free."""
    dims = tuple(map(call.algebra.fresh, call.shape))
    call.follow("size", dims)
    return dims


RULES: dict[str, Rule] = dict.fromkeys(
    ("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"), filled
)
