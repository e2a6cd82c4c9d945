"""Layers that are gone leave their list, so that the config that says how many there are can follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from laconic.core.apply import apply
from laconic.core.edit import Cut, Swap
from laconic.core.plan import Plan
from laconic.core.spec import Identity, Members, Skipped
from laconic.graph.oracle import largest_difference
from laconic.prune.agreement import agreement
from laconic.prune.configuration import counted, rebuilt
from laconic.prune.smaller import Smaller

LEFT_ALONE = "the config is left as it is: {}. Save with Pruned.save."


def renumbered(model: nn.Module, smaller: Smaller, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Smaller:
    """Takes layers that became the identity out of their lists and brings the config in line, where both agree.

    What is built from the changed config, with the smaller model's weights, has to compute what that computes.

    Args:
        model: the original, with a config.
        smaller: without some blocks.
        args: positional inputs, to compare on.
        kwargs: named inputs.

    Returns:
        The same model, its layers counted anew; or as it was, with a note that says why.
    """
    if smaller.kind == "graph":
        return smaller
    lists = _lists(model, smaller.plan)
    if not lists:
        return _noted(smaller, "parts of layers are gone, and it can only say how many whole ones there are")
    plan = smaller.plan + Plan.of(
        Swap(path, Members(tuple(i for i in range(count) if i not in gone))) for path, (gone, count) in lists.items()
    )
    own, expected = apply(model, plan), _outputs(smaller.model, args, kwargs)
    places = {path: tuple(i for i in range(count) if i not in gone) for path, (gone, count) in lists.items()}
    for edit in counted(own, [(kept, lists[path][1]) for path, kept in places.items()]):
        twin = rebuilt(apply(own, Plan.of([edit])))
        if twin is not None:
            complete = plan + Plan.of(
                [Cut(axis="config", slices=(), attributes=(*edit.attributes, *_numbers(own, twin, places)))]
            )
            own_again = apply(model, complete)
            found = [largest_difference(_outputs(m, args, kwargs), expected) for m in (own_again, twin)]
            if max(found) <= agreement(model, 0.0):
                return smaller._replace(model=own_again, plan=complete)
    return _noted(smaller, "no settings of it give the model without these layers")


def new_name(plan: Plan, name: str) -> str | None:
    """Returns what a parameter is called after a plan; None where the layer that it is in has left its list.

    Args:
        plan: what leads from the original to a smaller model.
        name: of a parameter of the original.
    """
    for edit in plan:
        if isinstance(edit, Swap) and isinstance(edit.spec, Members) and name.startswith(f"{edit.module}."):
            place, _, rest = name.removeprefix(f"{edit.module}.").partition(".")
            if int(place) not in edit.spec.kept:
                return None
            name = f"{edit.module}.{edit.spec.kept.index(int(place))}.{rest}"
    return name


def _lists(model: nn.Module, plan: Plan) -> dict[str, tuple[set[int], int]]:
    """Returns list -> positions that became the identity, and its length; nothing if anything else is gone."""
    found: dict[str, tuple[set[int], int]] = {}
    for edit in plan:
        if isinstance(edit, Swap):
            path, _, place = edit.module.rpartition(".")
            owner = model.get_submodule(path)
            passing = isinstance(edit.spec, Identity) or (
                isinstance(edit.spec, Skipped) and edit.spec.output == "input"
            )
            if not passing or not isinstance(owner, nn.ModuleList):
                return {}
            found.setdefault(path, (set(), len(owner)))[0].add(int(place))
    return found


def _numbers(own: nn.Module, twin: nn.Module, places: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, str, int]]:
    """Yields the attributes in which layers keep their position, with that which they have now."""
    modules = dict(twin.named_modules())
    for path, kept in places.items():
        for new, old in enumerate(kept):
            inside = f"{path}.{new}"
            for inner, module in own.get_submodule(inside).named_modules(prefix=inside):
                counterpart = vars(modules.get(inner, nn.Identity()))
                for name, value in vars(module).items():
                    if type(value) is int and value == old != new and counterpart.get(name) == new:
                        yield inner, name, new


def _outputs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            return [t for t in pytree.tree_leaves(model.eval()(*args, **kwargs)) if isinstance(t, Tensor)]
    finally:
        for module, training in modes.items():
            module.training = training


def _noted(smaller: Smaller, why: str) -> Smaller:
    return smaller._replace(notes=(*smaller.notes, LEFT_ALONE.format(why)))
