"""An optimizer goes on with the parameters that a cut left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from laconic.core.edit import Cut, Slice, Swap
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.prune.renumbered import new_name


def migrate(optimizer: Optimizer, plan: Plan, original: nn.Module, changed: nn.Module) -> None:
    """Makes an optimizer of one model train another one that a plan's cuts made of it, in place.

    Parameters are replaced in their groups, and whatever state has a parameter's shape is cut with it, so that learning
    rate schedules and momentum go on. Those of modules that the plan removes leave the optimizer.

    Args:
        optimizer: over parameters of `original`.
        plan: what leads from `original` to `changed`.
        original: the model before.
        changed: the model after; its parameters have the original's names, but for layers that the plan renumbered.

    Raises:
        UsageError: a parameter of the optimizer is not in the original, or not in the changed model; nothing changes.

    Guarantees:
        A state entry of a parameter that no edit cuts is the same tensor as before.
    """
    names = {parameter: name for name, parameter in original.named_parameters()}
    after = dict(changed.named_parameters(remove_duplicate=False))
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    removed: set[nn.Parameter] = set()
    for parameter in _parameters(optimizer):
        name = names.get(parameter, "")
        called = name and new_name(plan, name)
        if called in after:
            replaced[parameter] = after[called]
        elif name and _is_removed(plan, name):
            removed.add(parameter)
        else:
            where = f"{name!r} is not in the changed model" if name else "one is not a parameter of the original model"
            raise UsageError(f"migrate: {where}; expected an optimizer of the model that the plan was applied to.")
    for group in optimizer.param_groups:
        group["params"] = [replaced[parameter] for parameter in group["params"] if parameter in replaced]
    for parameter in removed:
        optimizer.state.pop(parameter, None)
    for old, new in replaced.items():
        if old in optimizer.state:
            slices = list(_slices(plan, original, old))
            state = optimizer.state.pop(old)
            optimizer.state[new] = {key: _cut(value, old, slices) for key, value in state.items()}


def _is_removed(plan: Plan, name: str) -> bool:
    """Whether a parameter is inside a module that the plan replaces, or that leaves its list."""
    return any(isinstance(edit, Swap) and name.startswith(f"{edit.module}.") for edit in plan)


def _parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _slices(plan: Plan, original: nn.Module, parameter: nn.Parameter) -> Iterator[Slice]:
    """Yields what the plan keeps of a parameter, whichever of its names the plan uses."""
    aliases = {name for name, held in original.named_parameters(remove_duplicate=False) if held is parameter}
    for edit in plan:
        if isinstance(edit, Cut):
            yield from {part.dim: part for part in edit.slices if part.tensor in aliases}.values()


def _cut(value: Any, parameter: nn.Parameter, slices: list[Slice]) -> Any:
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    for part in slices:
        value = value.index_select(part.dim, part.keep.to(value.device))
    return value
