"""Where values can be scaled channel by channel without the model's answer changing: found on its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.fx import Node

from laconic.graph import Graph
from laconic.graph.axes import Axes, Axis, axes
from laconic.graph.axes.expression import Atom, atoms_in
from laconic.graph.example import Example
from laconic.graph.operators import name_of
from laconic.quantize.equalize_operators import NORMS, WEIGHTED
from laconic.quantize.equalize_walk import BlockedError, Place, Walk


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Places:
    """Every place of a model that can be scaled, and why others cannot.

    Args:
        axes: the analysis they were found in.
        found: in the order of the model's axes.
        left_alone: axis -> what the scales cannot pass, where nothing along it can be scaled.
    """

    axes: Axes
    found: tuple[Place, ...]
    left_alone: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"  {place}" for place in self.found]
        lines += [f"  {name}: left alone, because of {reason}" for name, reason in self.left_alone.items()]
        return "\n".join([f"{len(self.found)} places can be scaled", *lines])

    def __repr__(self) -> str:
        return str(self)


def scalable(model: nn.Module | Graph, example: Example = ()) -> Places:
    """Finds all values that can be scaled channel by channel, with what makes and what reads them.

    From each product, normalisation or look-up the walk follows the values through operators with `f(s x) = s f(x)`:
    summands are then scaled alike, whatever they are computed from, and every reader has to be one that can divide.

    Args:
        model: a model, or its graph.
        example: what to call a model with, as in `axes`.

    Guarantees:
        A tensor that is also used elsewhere, in another way, is never touched.

    Example:
        >>> import torch
        >>> layers = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2)
        >>> print(scalable(nn.Sequential(*layers), torch.zeros(2, 3)))
        1 places can be scaled
          0.weight[0]: 0.weight -> 2.weight
          2.weight[0]: left alone, because of aten.gelu.default in 3
    """
    known = axes(model, example)
    found: list[Place] = []
    reasons: dict[str, str] = {}
    carriers = _carriers(known)
    for axis in known:
        places, reason = _along(known, axis, carriers.get(axis.atom, ()))
        found += places
        if not places and reason:
            reasons[axis.name] = reason
    return Places(axes=known, found=tuple(found), left_alone=reasons)


def _carriers(known: Axes) -> dict[Atom, list[Node]]:
    """Returns atom -> the operators that make values along it, in the order of execution."""
    found: dict[Atom, list[Node]] = {}
    for node, dims in known.resolved.dims.items():
        if isinstance(dims, tuple) and _makes(node, known.graph):
            for atom in dict.fromkeys(a for expr in dims for a in atoms_in(expr)):
                found.setdefault(atom, []).append(node)
    return found


def _makes(node: Node, graph: Graph) -> bool:
    name = name_of(node)
    scaled = name == "mul" and any(source.name in graph.sources for source in node.all_input_nodes)
    return node.op == "call_function" and (name in WEIGHTED or name in NORMS or name == "embedding" or scaled)


def _along(known: Axes, axis: Axis, seeds: Sequence[Node]) -> tuple[list[Place], str]:
    places: list[Place] = []
    seen: set[Node] = set()
    reason = ""
    for seed in seeds:
        if seed in seen:
            continue
        walk = Walk(known, axis)
        try:
            place = walk.place(seed)
        except BlockedError as blocked:
            reason = reason or str(blocked)
        else:
            if place.readers or any(t.role == "variance" for t in place.touches):
                places.append(place)
        seen |= set(walk.scaled)
    return places, reason
