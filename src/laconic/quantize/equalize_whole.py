"""A model that answers the same with weights and activations that lose less when they are rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.errors import ModelError
from laconic.core.plan import Plan
from laconic.core.projection import copied
from laconic.core.task import Task
from laconic.graph import Graph, capture
from laconic.graph.example import example_inputs
from laconic.graph.oracle import largest_difference
from laconic.quantize.equalize_places import scalable
from laconic.quantize.equalize_rotation import Rotation
from laconic.quantize.equalize_scales import CrossLayer, Smooth
from laconic.quantize.equalize_streams import turnable
from laconic.quantize.equalize_tensors import Tensors, equalized, turned
from laconic.quantize.equalize_watch import largest_values

ROUNDINGS = 2000
"""The answers may differ by so many of the dtype's roundings, relative to the largest one."""


def equalize(
    model: nn.Module,
    task: Task,
    *,
    method: CrossLayer | Smooth | Rotation | None = None,
    samples: int = 256,
    graph: Graph | None = None,
) -> Plan:
    """Plans a rescaling of channels that leaves the model's answers as they are. Nothing is changed: `apply` the plan.

    Where values are made they are multiplied by a scale a channel, where they are read they are divided by it.
    `scalable(model, task)` lists the places, and what stood in the way elsewhere. `Rotation` turns the channels of
    residual streams into one another instead, and `turnable(model, task)` lists those. Quantise the model that `apply`
    returns; `followed_by(equalized, quantized)` is one plan for both.

    Args:
        model: a trained model; left untouched.
        task: its data, read without labels, and only by `Smooth`; a few samples prove the result.
        method: how scales are chosen; None: `CrossLayer()`.
        samples: at most so many are read.
        graph: of an earlier `capture`.

    Returns:
        A `Recode` to `Dense` of every parameter and buffer that changes; no edits where no place was found.

    Raises:
        ModelError: the model cannot be captured, a weight is not finite, or the proof failed.

    Guarantees:
        The changed model answers what the original answers in eval mode, up to rounding.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
        >>> plan = equalize(model, Task(evaluate=[torch.randn(4, 1)]))
        >>> [edit.where for edit in plan]
        ['0.weight', '0.bias', '2.weight']
    """
    method = method or CrossLayer()
    args, kwargs = example_inputs(task)
    graph = graph or capture(model, args, kwargs)
    if isinstance(method, Rotation):
        streams = turnable(graph).found
        before = _tensors(graph, {turn.tensor for stream in streams for turn in stream.turns})
        after = turned(streams, before, method)
    else:
        places = scalable(graph)
        before = _tensors(graph, {touch.tensor for place in places.found for touch in place.touches})
        seen = largest_values(places, task, samples) if method.reads_data else {}
        after = equalized(places, before, seen, method)
    order = [name for name in graph.tensors if name in after and not torch.equal(after[name], before[name])]
    plan = Plan.of(Recode(name, Dense.of(after[name])) for name in order)
    _prove(model, plan, args, kwargs)
    return plan


def _tensors(graph: Graph, changing: Collection[str]) -> Tensors:
    before = {name: graph.tensors[name].detach().double() for name in sorted(changing)}
    for name, tensor in before.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"equalize: {name} holds values that are not finite. Load a checkpoint that is sound.")
    return before


def followed_by(first: Plan, later: Plan) -> Plan:
    """Returns both plans as one, without what the later one replaces: a weight is stored as it ends, and only once.

    Args:
        first: such as from `equalize`.
        later: a plan for the model that `apply(model, first)` returns, such as from `quantize`.

    Guarantees:
        The plan applied equals the first plan applied, then the later one.
    """
    replaced = {edit.parameter for edit in later.recodes}
    kept = [edit for edit in first if not (isinstance(edit, Recode) and edit.parameter in replaced)]
    return Plan.of([*kept, *later])


def _prove(model: nn.Module, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Checks that the changed model answers what the original does."""
    tensors = [t for t in model.parameters() if t.is_floating_point()]
    device = tensors[0].device if tensors else torch.device("cpu")
    args, kwargs = pytree.tree_map_only(Tensor, lambda t: t.to(device), (args, dict(kwargs)))
    with torch.no_grad():
        expected = _answers(copied(model), args, kwargs)
        error = largest_difference(_answers(apply(model, plan), args, kwargs), expected)
    eps = max((torch.finfo(t.dtype).eps for t in tensors), default=0.0)
    allowed = ROUNDINGS * max(eps, torch.finfo(torch.float32).eps) if eps < 1e-4 else 8 * eps
    if not error <= allowed:
        raise ModelError(
            f"equalize: the rescaled {type(model).__name__} is off by {error:.2g} of its largest answer; expected at "
            f"most {allowed:.2g}. Please report this model."
        )


def _answers(model: nn.Module, args: Any, kwargs: Any) -> list[Tensor]:
    answers = pytree.tree_leaves(model.eval()(*args, **kwargs))
    return [t for t in answers if isinstance(t, Tensor)]
