"""From kept indices to a plan: one `Cut` an axis, each leaving the model whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from laconic.core.edit import Cut, Slice
from laconic.core.plan import Plan
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.expression import Atom, kept_mask
from laconic.prune.attributes import Sizes, Value

Attributes = Callable[[nn.Module, Axes, Sizes], Mapping[tuple[str, str], Value]]


def cuts(model: nn.Module, axes: Axes, keep: Mapping[Axis, Tensor], attributes: tuple[Attributes, ...] = ()) -> Plan:
    """Returns the cuts, in the order of `keep`, as edits of the user's own model.

    Args:
        model: the original.
        axes: its analysis.
        keep: the kept indices of each axis, int64.
        attributes: find the sizes that modules keep in attributes; a later one wins.

    Raises:
        UsageError: an index is out of range, comes twice, or none is kept.

    Guarantees:
        Applying the plan gives every parameter and buffer the shape and values that `graph.cutting.cut` gives it.
    """
    masks = axes.masks(keep)
    done: dict[Atom, Tensor] = {}
    edits: list[Cut] = []
    before = _sizes_kept(model, axes, {}, attributes)
    for axis in keep:
        slices = tuple(_slices(axis, done, masks[axis.atom]))
        done[axis.atom] = masks[axis.atom]
        after = _sizes_kept(model, axes, done, attributes)
        changed = tuple((*place, value) for place, value in after.items() if before[place] != value)
        edits.append(Cut(axis=axis.name, slices=slices, attributes=changed))
        before = after
    return Plan.of(edits)


def _slices(axis: Axis, done: Mapping[Atom, Tensor], mask: Tensor) -> Iterator[Slice]:
    """Indices count in what earlier cuts have left of a dimension."""
    for part in axis.slices:
        left = kept_mask(part.expr, done)
        stays = kept_mask(part.expr, {**done, axis.atom: mask})[left]
        yield Slice(part.tensor, part.dim, stays.nonzero().flatten())


def _sizes_kept(
    model: nn.Module, axes: Axes, masks: Mapping[Atom, Tensor], attributes: tuple[Attributes, ...]
) -> dict[tuple[str, str], Value]:
    sizes = {atom: int(torch.count_nonzero(mask)) for atom, mask in masks.items()}
    found: dict[tuple[str, str], Value] = {}
    for finder in attributes:
        found |= finder(model, axes, sizes)
    return found
