"""Where a layer's result goes: through a normalisation, into a sum with another branch."""

from __future__ import annotations

from typing import NamedTuple

from torch.fx import Node

from laconic.graph.operators import PASSING, arguments, name_of


class Branch(NamedTuple):
    """What directly follows a layer, each the only reader of the one before.

    Args:
        norm: a batch normalisation, if there is one.
        other: what the result is added to, behind the normalisation, if it is.
    """

    norm: Node | None = None
    other: Node | None = None


def branch(layer: Node) -> Branch:
    """Returns what directly follows a layer; operators that pass values on are looked through."""
    norm, end = None, layer
    while len(end.users) == 1:
        reader = next(iter(end.users))
        if name_of(reader) == "batch_norm" and norm is None:
            norm = reader
        elif name_of(reader) == "add":
            return Branch(norm, _other_operand(reader, end))
        elif name_of(reader) not in PASSING:
            break
        end = reader
    return Branch(norm)


def _other_operand(addition: Node, one: Node) -> Node | None:
    given = arguments(addition)
    others = [operand for operand in (given["self"], given["other"]) if operand is not one]
    if len(others) != 1 or not isinstance(others[0], Node) or given.get("alpha", 1) != 1:
        return None
    return others[0]
