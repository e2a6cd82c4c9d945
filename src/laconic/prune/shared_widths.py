"""Widths that a module keeps as one number: they shrink alike, or its own code does not run any more."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.expression import only_atom
from laconic.prune.attributes import dealt_with, integers_of
from laconic.prune.choice import Together


def shared_widths(model: nn.Module, axes: Axes, free: Sequence[Axis]) -> tuple[Together, ...]:
    """Returns the head widths that one attribute of a module stands for, such as those of its keys and its values.

    Nothing in the computation couples them, so that each could lose another number of indices. Most attention modules
    keep one `head_dim` for all of them.

    Args:
        model: the original.
        axes: its analysis.
        free: what may be cut; a width that has to stay locks nothing.

    Returns:
        Sets of at least two axes: each with how many times its size is the attribute's value (2 where the two halves of
        a rotation are one axis).
    """
    widths = {axis.atom: axis for axis in axes if axis.kind == "head width"}
    able = {axis.atom for axis in axes}
    found: list[dict[Axis, int]] = []
    for path, dims in dealt_with(axes).items():
        for value in sorted(set(integers_of(model.get_submodule(path)))):
            atoms = [only_atom(dim.expr, able) for dim in dims if dim.expr.size == value]
            _add(found, {widths[atom]: value // atom.size for atom in atoms if atom in widths})
    return tuple(together for together in found if together.keys() <= set(free))


def _add(sets: list[dict[Axis, int]], new: dict[Axis, int]) -> None:
    """Joins a set with those that share an axis with it at the same value; one that contradicts them is left out."""
    if len(new) < 2:
        return
    shared = [together for together in sets if together.keys() & new.keys()]
    if any(together[axis] != new[axis] for together in shared for axis in together.keys() & new.keys()):
        return
    for together in shared:
        sets.remove(together)
        new |= together
    sets.append(new)
