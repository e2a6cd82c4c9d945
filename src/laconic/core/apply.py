"""The one place where a model changes, and always a copy of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Set
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from laconic.core.activation_grids import Rounding
from laconic.core.codings import Dense
from laconic.core.derived import derives
from laconic.core.edit import Cut, Edit, Recode, Rewrite, RoundActivation, Slice, Swap, Tie
from laconic.core.errors import ModelError, UsageError
from laconic.core.plan import Plan
from laconic.core.projection import copied, project, projections, starting_point, unproject
from laconic.core.rewritten import Rewritten

Found = TypeVar("Found", Tensor, nn.Module)


def apply(model: nn.Module, plan: Plan, *, strict: bool = True, trainable: bool = False) -> nn.Module:
    """Carries out a plan on a copy of a model.

    Args:
        model: left untouched.
        plan: carried out in order.
        strict: a name that the model does not have is an error; otherwise its edit is left out.
        trainable: recoded parameters stay free tensors that are projected onto their coding in every forward pass,
            with gradients passed straight through (Bengio, Leonard, Courville 2013, arXiv:1308.3432), so that training
            goes on under the plan; `refit` reads the result back. Otherwise they hold their decoded values. Either way
            the model starts out the same.

    Returns:
        The changed copy, in the mode (train or eval), dtype and device of the original.

    Raises:
        UsageError: a name does not exist (the nearest ones are given), or a shape does not fit.
        ModelError: the model cannot be copied.
    """
    try:
        changed = copied(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__}: cannot be copied ({error}). Make it work with copy.deepcopy."
        ) from error
    for edit in plan:
        if strict or _exists(changed, edit):
            if isinstance(edit, Rewrite):
                changed = Rewritten(changed, edit.program)
            else:
                _carry_out(changed, edit, trainable)
    return changed


def refit(plan: Plan, trained: nn.Module) -> Plan:
    """Returns the plan with each coding fitted to the weights that training under it arrived at.

    What a later swap took out of the model stays as it was.

    Args:
        plan: what `trained` was made with, by `apply(model, plan, trainable=True)`.
        trained: the model after training.
    """
    fitted: list[Edit] = []
    swapped: list[str] = []
    for edit in reversed(tuple(plan)):
        if isinstance(edit, Swap):
            swapped.append(f"{edit.module}.".lstrip("."))
        elif isinstance(edit, Recode) and not edit.parameter.startswith(tuple(swapped)):
            edit = Recode(edit.parameter, edit.coding.encode(free_parameter(trained, edit.parameter)))
        fitted.append(edit)
    return Plan.of(reversed(fitted))


def settle(model: nn.Module) -> nn.Module:
    """Returns a copy without projections: each projected parameter is a plain one again, at its projected value."""
    settled = copied(model)
    for place in list(projections(settled)):
        unproject(place)
    return settled


def free_parameter(model: nn.Module, name: str) -> Tensor:
    """Returns the tensor that training changes: the original under a projection, else the parameter itself."""
    return _tensor(model, name).detach()


def _carry_out(model: nn.Module, edit: Edit, trainable: bool) -> None:
    match edit:
        case Recode():
            _recode(model, edit, trainable)
        case RoundActivation():
            _round_activation(model, edit)
        case Cut():
            _cut(model, edit)
        case Swap():
            _swap(model, edit)
        case Tie():
            _tie(model, edit)
        case _:
            raise UsageError(f"apply: got an edit of kind {edit.kind!r}, which it does not know how to carry out.")


def _exists(model: nn.Module, edit: Edit) -> bool:
    match edit:
        case Recode():
            return edit.parameter in _tensors(model)
        case Tie():
            return {edit.parameter, edit.to} <= _tensors(model).keys()
        case RoundActivation() | Swap():
            return edit.module in _modules(model)
        case Cut():
            modules = {path for path, _, _ in edit.attributes}
            return {s.tensor for s in edit.slices} <= _tensors(model).keys() and modules <= _modules(model).keys()
    return True


def _recode(model: nn.Module, edit: Recode, trainable: bool) -> None:
    parameter = _plain(model, edit.parameter)
    if tuple(parameter.shape) != edit.coding.shape:
        raise UsageError(
            f"Recode: {edit.parameter} has shape {list(parameter.shape)}, the coding {list(edit.coding.shape)}; "
            "expected the same. The plan was made for another model."
        )
    with torch.no_grad():
        parameter.copy_(starting_point(parameter, edit.coding) if trainable else edit.coding.decode())
    if trainable and not isinstance(edit.coding, Dense):  # A dense tensor is as free as it can be.
        for owner, name in list(_places(model, parameter)):
            project(owner, name, edit.coding)


def _round_activation(model: nn.Module, edit: RoundActivation) -> None:
    module = _called(model, edit.module)
    if edit.side == "input":
        module.register_forward_pre_hook(partial(_round_first, edit.grid), with_kwargs=True)
    else:
        module.register_forward_hook(partial(_round_output, edit.grid))


def _round_first(
    grid: Rounding, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (grid.round(args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, {**kwargs, name: grid.round(kwargs[name])}


def _round_output(grid: Rounding, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return grid.round(output)


def _cut(model: nn.Module, edit: Cut) -> None:
    # Every name is looked up before anything changes: a tied tensor may be named twice and is cut once.
    found = _plain_ones(model, {part.tensor for part in edit.slices})
    for old in {id(tensor): tensor for tensor in found.values()}.values():
        new = _kept(old, [part for part in edit.slices if found[part.tensor] is old])
        for owner, name in list(_places(model, old)):
            setattr(owner, name, new)
    for path, name, value in edit.attributes:
        _set(_module(model, path), name, value)


def _set(owner: Any, name: str, value: int | tuple[int | str, ...]) -> None:
    """Sets an attribute, or with dots in its name one of an object that a module holds."""
    *inner, last = name.split(".")
    if any(part.startswith("__") for part in name.split(".")):
        raise UsageError(f"Cut: got an attribute {name!r}; expected one without two underscores in front.")
    for part in inner:
        owner = getattr(owner, part)
    if isinstance(value, tuple) and isinstance(getattr(owner, last, None), list):
        setattr(owner, last, list(value))
    else:
        setattr(owner, last, value)


def _kept(old: Tensor, slices: list[Slice]) -> Tensor:
    kept = old.detach()
    for dim, part in {part.dim: part for part in slices}.items():
        if not -old.dim() <= dim < old.dim() or ((part.keep < 0) | (part.keep >= old.shape[dim])).any():
            raise UsageError(
                f"Cut: {part.tensor} has shape {list(old.shape)}, and not all that should stay of dimension {dim} is "
                "in it. The plan was made for another model."
            )
        kept = kept.index_select(dim, part.keep.to(old.device))
    return nn.Parameter(kept, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else kept


def _swap(model: nn.Module, edit: Swap) -> None:
    old = _called(model, edit.module)
    if old is model:
        raise UsageError("Swap: got the whole model; expected a module inside it. Apply the plan to a model around it.")
    new = edit.spec.build(old).train(old.training)
    for hooks in (
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
    ):
        # What computes a weight of the old module has nothing to compute it from in the new one.
        getattr(new, hooks).update({k: hook for k, hook in getattr(old, hooks).items() if not derives(hook)})
    for parent in list(model.modules()):
        for name in [name for name, child in parent._modules.items() if child is old]:
            setattr(parent, name, new)


def _tie(model: nn.Module, edit: Tie) -> None:
    coding = next((p.coding for p in projections(model) if p.free is _tensor(model, edit.to)), None)
    gone, kept = _plain(model, edit.parameter), _plain(model, edit.to)
    if gone.shape != kept.shape:
        raise UsageError(
            f"Tie: {edit.parameter} has shape {list(gone.shape)}, {edit.to} {list(kept.shape)}; expected the same. The "
            "plan was made for another model."
        )
    for owner, name in list(_places(model, gone)):
        setattr(owner, name, kept)
    if coding is not None:  # Training under it goes on, now for both.
        for owner, name in list(_places(model, kept)):
            project(owner, name, coding)


def _plain(model: nn.Module, name: str) -> Tensor:
    """Returns a tensor by name; where an earlier edit projects it, it is settled first."""
    return _plain_ones(model, {name})[name]


def _plain_ones(model: nn.Module, names: Set[str]) -> dict[str, Tensor]:
    """Returns tensors by name as `_plain` does, in one walk through the model: a cut names hundreds."""
    known = _tensors(model)
    found = {name: _named("tensor", name, known) for name in names}
    settled = {id(tensor) for tensor in found.values()}
    for place in [place for place in projections(model) if id(place.free) in settled]:
        unproject(place)
    return found


def _places(model: nn.Module, tensor: Tensor) -> Iterator[tuple[nn.Module, str]]:
    """Yields every module and attribute that holds this very tensor: tied weights have several."""
    for module in model.modules():
        for name, held in (*module._parameters.items(), *module._buffers.items()):
            if held is tensor:
                yield module, name


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns all parameters and buffers by name: tied ones under each of theirs, projected ones as before."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    projected = {place.name: place.free for place in projections(model)}
    return {**parameters, **dict(model.named_buffers(remove_duplicate=False)), **projected}


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    return dict(model.named_modules(remove_duplicate=False))


def _tensor(model: nn.Module, name: str) -> Tensor:
    return _named("tensor", name, _tensors(model))


def _module(model: nn.Module, path: str) -> nn.Module:
    return _named("module", path, _modules(model))


def _called(model: nn.Module, path: str) -> nn.Module:
    """Returns a module by path that the model calls, as far as that is known: a change of another would do nothing."""
    module = _module(model, path)
    if isinstance(model, Rewritten) and path and path not in model.program.called:
        raise UsageError(
            f"apply: the graph of {type(model).__name__} does not call {path!r}; expected a module it calls."
        )
    return module


def _named(what: str, name: str, known: Mapping[str, Found]) -> Found:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"apply: the model has no {what} named {name!r}.{hint}")
