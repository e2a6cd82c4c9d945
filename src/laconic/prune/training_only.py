"""Parameters that only training reads, such as what stands for masked steps: they are cut with what they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.edit import Cut, Slice
from laconic.core.plan import Plan
from laconic.core.projection import copied
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.expression import Atom, Expr, kept_mask
from laconic.graph.cutting import touches
from laconic.prune.attributes import dealt_with

TRIED = 8
"""So many ways to cut them are tried."""


def cut_for_training(
    model: nn.Module,
    plan: Plan,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Plan | None:
    """Returns a plan with cuts of the parameters that the graph does not read, so that the model runs in training mode.

    The graph is that of evaluation, and says nothing of them. A dimension that is as large as one that is cut in the
    same module may be cut like that one; which it is, running in training mode decides.

    Args:
        model: the original.
        plan: its cuts so far.
        axes: its analysis.
        keep: the kept indices of each axis that is cut, int64.
        args: positional inputs to run on.
        kwargs: named inputs.

    Returns:
        The plan as it was where that runs, or the original does not; None if nothing or more than one way runs.
    """
    masks = axes.masks(keep)
    ways = _ways(axes, masks)
    if not ways or not runs_in_training(model, args, kwargs) or runs_in_training(apply(model, plan), args, kwargs):
        return plan
    able = []
    for way in itertools.islice(itertools.product(*ways), TRIED):
        complete = plan + Plan.of(way)
        if runs_in_training(apply(model, complete), args, kwargs):
            able.append(complete)
    return able[0] if len(able) == 1 else None


def runs_in_training(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Returns whether a copy of a model runs in training mode; random numbers are drawn apart."""
    trained = copied(model).train()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            trained(*args, **kwargs)
    except Exception:  # The user's code may raise anything.
        return False
    return True


def _ways(axes: Axes, masks: Mapping[Atom, Tensor]) -> list[list[Cut]]:
    """Returns for each dimension that nothing reads, and that may have to shrink, the cuts that come into question."""
    found = []
    known = dealt_with(axes)
    for dim in axes.frozen:
        if dim.operators == ("being unused",) and dim.tensor in axes.graph.parameters:
            path = dim.tensor.rpartition(".")[0]
            inside = [d.expr for p, dims in known.items() if f"{p}.".startswith(f"{path}.") or not path for d in dims]
            exprs = dict.fromkeys(expr for expr in inside if expr.size == dim.size and touches(expr, masks))
            cuts = [_cut(dim.tensor, dim.dim, expr, masks) for expr in exprs]
            found += [list(_distinct(cuts))] if cuts else []
    return found


def _cut(name: str, dim: int, expr: Expr, masks: Mapping[Atom, Tensor]) -> Cut:
    return Cut(axis=f"{name}[{dim}]", slices=(Slice(name, dim, kept_mask(expr, masks).nonzero().flatten()),))


def _distinct(cuts: Sequence[Cut]) -> Iterator[Cut]:
    seen = set()
    for cut in cuts:
        indices = tuple(cut.slices[0].keep.tolist())
        if indices not in seen:
            seen.add(indices)
            yield cut
