"""Layers whose weights are computed from other tensors get weights of their own, which can be compressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.derived import derived
from laconic.core.edit import Swap
from laconic.core.plan import Plan
from laconic.core.spec import OwnWeights
from laconic.core.task import Task, check_is_task

Technique = TypeVar("Technique", bound=Callable[..., Plan])


def plain_weights(model: nn.Module) -> Plan:
    """Gives each layer whose weight is computed before every call - by weight or spectral normalisation - a plain one.

    The model answers as before in eval mode. What is computed anew each time is no tensor that could be stored in fewer
    bits, and the runtime gets the product anyway. `compress`, `advise`, `quantize`, `sparsify`, `factorize` and `share`
    begin with this plan; before `price`, `calibrate` and `prune` apply it yourself.

    Args:
        model: left untouched.

    Returns:
        One edit a layer; none where every weight is a parameter already. The model itself, as opposed to a layer inside
        it, and a layer whose computation shares a tensor with another part of the model are left alone.

    Example:
        >>> from torch.nn.utils.parametrizations import weight_norm
        >>> model = nn.Sequential(weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2))
        >>> print(plain_weights(model))
        Plan: 1 edit
          0: replaced by itself, with a weight of its own
        >>> [name for name, _ in apply(model, plain_weights(model)).named_parameters()]
        ['0.bias', '0.weight', '2.weight', '2.bias']
    """
    holders = Counter(id(t) for m in model.modules() for t in (*m._parameters.values(), *m._buffers.values()))
    return Plan.of(
        Swap(path, OwnWeights())
        for path, module in model.named_modules()
        if path and (found := derived(module)) and _alone(found, holders)
    )


def on_plain_weights(technique: Technique) -> Technique:
    """Lets a technique work on the model with plain weights, and puts what leads there before its plan.

    Evidence or a graph that is given is of the model as it is: then the model is taken as it is too.
    """

    @wraps(technique)
    def planned(model: nn.Module, task: Task, **settings: Any) -> Plan:
        check_is_task(task, technique.__name__)
        known = settings.get("evidence") is not None or settings.get("graph") is not None
        first = Plan() if known or not isinstance(model, nn.Module) else plain_weights(model)
        return first + technique(apply(model, first) if len(first) else model, task, **settings)

    return cast(Technique, planned)


def _alone(found: Mapping[str, Mapping[str, Tensor]], holders: Mapping[int, int]) -> bool:
    return all(holders[id(source)] <= 1 for sources in found.values() for source in sources.values())
