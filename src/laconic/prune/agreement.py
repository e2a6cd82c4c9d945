"""How near a smaller model has to be to what it should compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from laconic.core.apply import apply
from laconic.core.plan import Plan
from laconic.graph import capture
from laconic.graph.axes import Axis, axes
from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error

SLACK = 64
"""How many times further than the graph, or than one rounding, the user's own module may be away."""
HALF = (torch.float16, torch.bfloat16)


def tolerance(model: nn.Module) -> float:
    """Returns how far rounding may take a model: half the digits of its least precise parameter."""
    return float(_epsilon(model) ** 0.5)


def agreement(model: nn.Module, error: float) -> float:
    """Returns how far the user's own module may be away where the graph of the same cut is `error` away.

    Both call the same operators, so that a module which is right is hardly ever further away than the graph. One that
    is wrong by the scale of an attention whose scores are nearly alike is, but often within the tolerance.

    Args:
        model: the original.
        error: of the graph.
    """
    return min(tolerance(model), SLACK * max(error, _epsilon(model)))


def agrees_in_single(
    model: nn.Module, plan: Plan, keep: Mapping[Axis, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether the user's own module, cut by a plan, is right in single precision; half leaves room for several percent.

    Args:
        model: the original.
        plan: the cut.
        keep: the kept indices of each axis that is cut.
        args: positional inputs of the proof.
        kwargs: named inputs.

    Returns:
        True also where it cannot be found out: nothing is of half precision, or the model's code insists on it.
    """
    if not any(p.dtype in HALF for p in model.parameters()):
        return True
    args, kwargs = pytree.tree_map_only(Tensor, _in_single, (tuple(args), dict(kwargs)))
    try:
        twin = apply(model, Plan()).float().eval()
        found = axes(capture(twin, args, kwargs))
        kept = {found[axis.name]: indices for axis, indices in keep.items()}
        error = cut_error(found, kept, cut(found, kept), args, kwargs)
        return cut_error(found, kept, apply(twin, plan), args, kwargs) <= agreement(twin, error)
    except Exception:  # The user's code, in a precision that it was not written for: it may raise anything.
        return True


def _epsilon(model: nn.Module) -> float:
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return max((torch.finfo(kind).eps for kind in kinds), default=0.0)


def _in_single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor
