"""The tensors of a model whose values are scaled channel by channel, or turned as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from laconic.graph.axes.expression import Atom, Expr, Prod, Sum
from laconic.quantize.equalize_places import Places
from laconic.quantize.equalize_rotation import Rotation
from laconic.quantize.equalize_scales import CrossLayer, Ranges, Smooth
from laconic.quantize.equalize_turns import Stream, Turn
from laconic.quantize.equalize_walk import Place, Touch

Tensors = dict[str, Tensor]
DEVIATIONS = 3
"""A normalised channel is held to reach so many deviations."""
SETTLED = 1e-3
"""Scales that change by no more than this fraction in a round are done."""


def turned(streams: Iterable[Stream], before: Mapping[str, Tensor], method: Rotation) -> Tensors:
    """Returns tensors with which all streams are turned.

    Args:
        streams: of a model.
        before: every tensor that they name, float64.
        method: makes the matrices.
    """
    after = dict(before)
    for stream in streams:
        matrix = method.matrix(stream.size, keep_mean=stream.keep_mean)
        for turn in stream.turns:
            gain = None if turn.gain is None else before[turn.gain]
            after[turn.tensor] = _turned(after[turn.tensor], turn, gain, matrix)
    return after


def _turned(tensor: Tensor, turn: Turn, gain: Tensor | None, matrix: Tensor) -> Tensor:
    if turn.role == "gain":
        return torch.ones_like(tensor)
    along = tensor.movedim(turn.dim, -1)
    if gain is not None:
        along = along / torch.where(gain != 0, gain, 1) if turn.role == "shift" else along * gain
    return (along @ matrix.to(tensor.device)).movedim(-1, turn.dim)


def equalized(
    places: Places, before: Mapping[str, Tensor], seen: Mapping[Place, Tensor], method: CrossLayer | Smooth
) -> Tensors:
    """Returns tensors with which all places are scaled, each in turn, until the scales settle.

    Args:
        places: of a model.
        before: every tensor that they name, float64.
        seen: the largest magnitude of every channel, where the method reads it.
        method: chooses scales.
    """
    tensors = dict(before)
    totals = {place: torch.ones(place.axis.size, dtype=torch.float64) for place in places.found}
    for _ in range(method.rounds):
        earlier = dict(totals)
        for place, total in earlier.items():
            wanted = total * method.scales(_ranges(place, tensors, seen.get(place)))
            totals[place] = _allowed(place, before, wanted.clamp(1 / method.limit, method.limit))
            for touch in place.touches:
                tensors[touch.tensor] = _scaled(tensors[touch.tensor], touch, place.axis.atom, totals[place] / total)
        if all(torch.allclose(totals[place], total, rtol=SETTLED) for place, total in earlier.items()):
            break
    return tensors


def _ranges(place: Place, tensors: Mapping[str, Tensor], seen: Tensor | None) -> Ranges:
    def reach(touch: Touch) -> Tensor:
        found = largest_along(tensors[touch.tensor], touch.dim, touch.expr, place.axis.atom)
        return found * DEVIATIONS if touch.role == "gain" else found

    made: dict[str, Tensor] = {}
    for touch in place.touches:
        if touch.power > 0 and touch.role in ("weight", "gain", "shift"):
            made[touch.node] = made.get(touch.node, torch.zeros(())) + reach(touch)
    read = [reach(touch) for touch in place.readers]
    ones = torch.ones(place.axis.size, dtype=torch.float64)
    return Ranges(
        made=_widest([*made.values()]) if made else ones,
        read=_widest(read) if read else None,
        seen=seen,
    )


def _widest(ranges: Sequence[Tensor]) -> Tensor:
    """Returns the largest of several tensors' ranges, each relative to the whole tensor's: that is what rounding is."""
    largest = [reach.max() for reach in ranges]
    relative = [reach / top if top > 0 else reach for reach, top in zip(ranges, largest, strict=True)]
    return torch.stack(relative).amax(0)


def _allowed(place: Place, before: Mapping[str, Tensor], total: Tensor) -> Tensor:
    """Returns scales under which no variance becomes negative."""
    for touch in place.touches:
        if touch.role == "variance":
            variance = largest_along(before[touch.tensor], 0, touch.expr, place.axis.atom)
            total = torch.maximum(total, (touch.eps / (variance + touch.eps)).sqrt())
    return total


def _scaled(tensor: Tensor, touch: Touch, atom: Atom, scales: Tensor) -> Tensor:
    at = coordinates(touch.expr, atom)
    factor = torch.where(at >= 0, scales[at.clamp(min=0)], 1).to(tensor.device)
    if touch.role == "variance":
        return (factor.square() * (tensor + touch.eps) - touch.eps).clamp(min=0)
    return tensor * (factor**touch.power).reshape(-1, *[1] * (tensor.dim() - touch.dim - 1))


def largest_along(tensor: Tensor, dim: int, expr: Expr, atom: Atom) -> Tensor:
    """Returns the largest magnitude at each index of an axis, float64 `[axis]`.

    Args:
        tensor: of any shape.
        dim: where the axis is in it.
        expr: what that dimension is made of.
        atom: the axis'.
    """
    each = tensor.detach().abs().movedim(dim, 0).flatten(1).amax(1) if tensor.dim() > 1 else tensor.detach().abs()
    at = coordinates(expr, atom)
    found = torch.zeros(atom.size, dtype=torch.float64)
    return found.scatter_reduce(0, at[at >= 0], each.cpu().double()[at >= 0], "amax")


def coordinates(expr: Expr, atom: Atom) -> Tensor:
    """Returns which index of an axis each index of a dimension belongs to, int64; -1 for none.

    Example:
        >>> channels = Atom(2)
        >>> coordinates(Sum((Atom(1), Prod((channels, Atom(3))))), channels).tolist()
        [-1, 0, 0, 0, 1, 1, 1]
    """
    match expr:
        case Atom():
            return torch.arange(expr.size) if expr is atom else torch.full((expr.size,), -1)
        case Prod():
            found = torch.full((1,), -1)
            for factor in expr.factors:
                found = torch.maximum(found[:, None], coordinates(factor, atom)[None, :]).flatten()
            return found
        case Sum():
            return torch.cat([coordinates(part, atom) for part in expr.parts])
