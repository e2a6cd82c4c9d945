"""Cuts axes out of a model: the user's own module where its code still runs and agrees, else a graph module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.errors import LaconicError, ModelError
from laconic.core.plan import Plan
from laconic.graph.axes import Axes, Axis
from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error
from laconic.prune.attributes import known_attributes, matching_attributes
from laconic.prune.cuts import Attributes, cuts

WAYS: tuple[tuple[Attributes, ...], ...] = ((known_attributes,), (known_attributes, matching_attributes))
"""Which attributes to update, tried in this order."""


class Smaller(NamedTuple):
    """A model after the cut: see `Pruned` for the fields."""

    model: nn.Module
    plan: Plan
    kind: Literal["module", "graph"]
    why: str
    error: float


def cut_out(
    model: nn.Module, axes: Axes, keep: Mapping[Axis, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Smaller:
    """Returns the model without the slices that are not kept, after the proof that nothing else changed.

    Args:
        model: the original; left untouched.
        axes: its analysis.
        keep: the kept indices of each axis that is cut, int64.
        args: positional inputs that the proof runs on.
        kwargs: named inputs.

    Raises:
        UsageError: an index is out of range, comes twice, or none is kept.
        ModelError: the cut graph does not compute what the original with zeros computes.

    Guarantees:
        The model's outputs are those of the original with zeros in the cut slices.
        Mode, dtype, device, `requires_grad`, ties and hooks of a user's own module survive.
    """
    smaller = cut(axes, keep)
    limit = tolerance(model)
    error = cut_error(axes, keep, smaller, args, kwargs)
    if not error <= limit:
        raise ModelError(
            f"prune: {type(model).__name__} without the cut slices is {error:.2g} away from the original with zeros in "
            f"them, expected at most {limit:.1g}; nothing is returned. Please report this model."
        )
    why = ""
    for attributes in WAYS:
        plan = cuts(model, axes, keep, attributes)
        own = apply(model, plan)
        found, why = _tried(own, axes, keep, args, kwargs)
        if found <= limit:
            return Smaller(own, plan, "module", "", found)
    return Smaller(smaller, cuts(model, axes, keep), "graph", why, error)


def tolerance(model: nn.Module) -> float:
    """Returns how far rounding may take a model: half the digits of its least precise parameter."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return max((float(torch.finfo(kind).eps ** 0.5) for kind in kinds), default=0.0)


def _tried(
    own: nn.Module, axes: Axes, keep: Mapping[Axis, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[float, str]:
    """Returns how far the user's module is from the proof's reference, and what to say where it is too far."""
    modes = {module: module.training for module in own.modules()}
    try:
        error = cut_error(axes, keep, own.eval(), args, kwargs)
    except LaconicError:
        raise
    except Exception as failure:  # The user's code, at sizes that it was not written for: it may raise anything.
        text = str(failure).strip() or type(failure).__name__
        return float("inf"), f"its own code does not run at the new sizes: {text.splitlines()[0]}"
    finally:
        for module, training in modes.items():
            module.training = training
    return error, f"its own code computes something else at the new sizes (off by {error:.2g})"
