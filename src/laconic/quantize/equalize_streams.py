"""Where values can be turned as a whole without the model's answer changing: residual streams, found on the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.fx import Node

from laconic.graph import Graph
from laconic.graph.axes import Axes, axes
from laconic.graph.axes.expression import Atom
from laconic.graph.example import Example
from laconic.graph.operators import name_of
from laconic.quantize.equalize_operators import WEIGHTED
from laconic.quantize.equalize_turns import Stream, StreamWalk
from laconic.quantize.equalize_walk import BlockedError


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Streams:
    """Every stream of a model that can be turned, and why other axes cannot.

    Args:
        found: in the order of the model's axes.
        left_alone: axis -> what a turn cannot pass.
    """

    found: tuple[Stream, ...]
    left_alone: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"  {stream}" for stream in self.found]
        lines += [f"  {name}: left alone, because of {reason}" for name, reason in self.left_alone.items()]
        return "\n".join([f"{len(self.found)} streams can be turned", *lines])

    __repr__ = __str__


def turnable(model: nn.Module | Graph, example: Example = ()) -> Streams:
    """Finds all values that can be multiplied by an orthogonal matrix, with what writes and what reads them.

    From each product or look-up the walk follows the values through sums, moves and normalisations over all channels;
    every end has to be a weight that can take the matrix up.

    Args:
        model: a model, or its graph.
        example: what to call a model with, as in `axes`.

    Guarantees:
        A tensor that is also used elsewhere, in another way, is never touched.

    Example:
        >>> import torch
        >>> layers = nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 2), nn.GELU(), nn.Linear(2, 2)
        >>> print(turnable(nn.Sequential(*layers), torch.zeros(2, 3)))
        1 streams can be turned
          0.weight[0]: 4 channels, 4 tensors
          2.weight[0]: left alone, because of aten.gelu.default in 3
    """
    known = axes(model, example)
    found: list[Stream] = []
    reasons: dict[str, str] = {}
    for axis in known:
        seed = _seed(known, axis.atom)
        if seed is None or axis.size < 2:
            continue
        try:
            found.append(StreamWalk(known, axis.atom).stream(seed, axis.name))
        except BlockedError as blocked:
            reasons[axis.name] = str(blocked)
    return Streams(found=tuple(found), left_alone=reasons)


def _seed(known: Axes, atom: Atom) -> Node | None:
    """Returns the first product or look-up whose result counts an axis."""
    for node, dims in known.resolved.dims.items():
        makes = node.op == "call_function" and (name_of(node) in WEIGHTED or name_of(node) == "embedding")
        if makes and isinstance(dims, tuple) and any(expr is atom for expr in dims):
            return node
    return None
