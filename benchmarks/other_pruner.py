"""torch-pruning on a model of the zoo, and the proof of what it did."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from laconic.graph import capture, costs
from laconic.graph.axes import Axes, Axis, axes
from laconic.graph.axes.expression import kept_mask
from laconic.graph.oracle import cut_error
from laconic.prune.agreement import tolerance
from zoo import checks
from zoo.checks import Row, call, tensors
from zoo.entry import Entry, Inputs

STEPS, MOST, MODEL = 10, 0.8, "other.pt"
Kept = dict[str, tuple[list[int], ...]]


def pruned_by_the_other(entry: Entry, folder: Path) -> Row:
    """Runs all checks but the reload, for which it leaves the pickled model."""
    row = Row(entry.name)
    original, inputs = checks.made(entry)
    _make_different(original)
    row.parameters = sum(p.numel() for p in original.parameters())
    model = copy.deepcopy(original)
    started = time.process_time()
    try:
        before = _macs(original, inputs)
        _prune(model, inputs, before)
    except Exception as failure:
        row.failures["prune"] = checks.said(failure)
        return row
    row.seconds = round(time.process_time() - started, 2)
    row.form = "module"
    for name, check in _checks(original, model, inputs, before, row).items():
        with checks.noted(row, name):
            check()
    if "forward" in row.passed:
        with torch.no_grad():
            outputs = tensors(call(model.eval(), inputs))
        with checks.noted(row, "reload"):
            torch.save(
                {"model": model, "inputs": inputs, "outputs": outputs}, folder / MODEL, pickle_module=cloudpickle
            )
        row.passed = [check for check in row.passed if check != "reload"]
    return row


def _make_different(model: nn.Module) -> None:
    """Gives each vector values that are all different, so that it can be told which of them are left."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                count = parameter.numel()
                parameter.copy_(parameter.sort().values + 0.2 * torch.arange(count) / count)
                parameter.copy_(parameter[torch.randperm(count)])


def reloaded_by_the_other(folder: Path) -> None:
    """Loads the pickled model in another process.

    Raises:
        AssertionError: it computes something else.
    """
    kept = torch.load(folder / MODEL, weights_only=False)
    with torch.no_grad():
        found = tensors(call(kept["model"].eval(), kept["inputs"]))
    for got, expected in zip(found, kept["outputs"], strict=True):
        assert torch.equal(got, expected), "other outputs after a reload"


def _prune(model: nn.Module, inputs: Inputs, before: int) -> None:
    import torch_pruning as tp

    given: Any = dict(inputs) if isinstance(inputs, Mapping) else (inputs[0] if len(inputs) == 1 else inputs)
    pruner = tp.pruner.BasePruner(
        model,
        given,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=MOST,
        iterative_steps=STEPS,
        ignored_layers=_last_layers(model, inputs),
    )
    for _ in range(STEPS):
        pruner.step()
        if _macs(model, inputs) <= checks.RATIO * before:
            return


def _last_layers(model: nn.Module, inputs: Inputs) -> list[nn.Module]:
    """Returns the layers whose results the model returns, or the one that ran last."""
    ran: list[tuple[nn.Module, Tensor]] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    hooks = [m.register_forward_hook(lambda m, _, output: ran.append((m, output))) for m in layers]
    try:
        with torch.no_grad():
            returned = {t.untyped_storage().data_ptr() for t in tensors(call(model, inputs))}
    finally:
        for hook in hooks:
            hook.remove()
    last = [m for m, output in ran if output.untyped_storage().data_ptr() in returned]
    return list(dict.fromkeys(last)) or [m for m, _ in ran[-1:]]


def _macs(model: nn.Module, inputs: Inputs) -> int:
    """Its own count while it goes on; the verdict counts anew."""
    import torch_pruning as tp

    given: Any = dict(inputs) if isinstance(inputs, Mapping) else inputs
    return int(tp.utils.count_ops_and_params(model, given)[0])


def _checks(
    original: nn.Module, model: nn.Module, inputs: Inputs, before: int, row: Row
) -> dict[str, Callable[[], None]]:
    return {
        "forward": lambda: checks.runs(original, inputs, model),
        "ratio": lambda: _ratio(original, model, inputs, before, row),
        "oracle": lambda: _oracle(original, model, inputs),
        "backward": lambda: checks.learns(original, inputs, model),
    }


def _ratio(original: nn.Module, model: nn.Module, inputs: Inputs, before: int, row: Row) -> None:
    """Half is gone by either count; it may be more than half."""
    row.macs_left = _macs(model, inputs) / before if before else 1.0
    if row.macs_left > checks.RATIO + checks.NEAR:
        args, kwargs = checks.arguments_of(inputs)
        whole, left = (costs(capture(m, args, kwargs)).macs for m in (original, model))
        row.macs_left = left / whole
    row.macs_left = round(row.macs_left, 4)
    assert row.macs_left <= checks.RATIO + checks.NEAR, f"{row.macs_left:.1%} of the MACs are left"


def _oracle(original: nn.Module, model: nn.Module, inputs: Inputs) -> None:
    """The original with zeros in what is gone computes what the pruned model computes, by either of two references.

    The first also takes means and softmaxes over what is kept only, where the cut is one along Laconic's axes.
    """
    fresh = checks.others(inputs)
    args, kwargs = checks.arguments_of(fresh)
    kept = kept_indices(dict(original.named_parameters()), dict(model.named_parameters()))
    errors = [_plain_error(original, model, kept, fresh)]
    found = axes(capture(original, args, kwargs))
    if errors[0] > tolerance(original) and (keep := _along_axes(found, kept)) is not None:
        errors.append(cut_error(found, keep, model.eval(), args, kwargs))
    assert min(errors) <= tolerance(original), f"{min(errors):.2g} away from the original with zeros"


def kept_indices(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Kept:
    """Finds out which slices are left of every parameter, by their values, which are all different.

    Raises:
        AssertionError: what is left is no sub-tensor of what was there.
    """
    found: Kept = {}
    for name, small in after.items():
        large = before[name].detach()
        assert small.dim() == large.dim(), f"{name} has another rank"
        found[name] = tuple(_kept(name, large, small.detach(), d) for d in range(large.dim()))
        left = large
        for d, indices in enumerate(found[name]):
            left = left.index_select(d, torch.tensor(indices))
        assert torch.equal(left, small.detach()), f"{name} has values that it did not have"
    return found


def _kept(name: str, large: Tensor, small: Tensor, dim: int) -> list[int]:
    if small.shape[dim] == large.shape[dim]:
        return list(range(large.shape[dim]))
    order = large.flatten().sort()
    values = small.movedim(dim, 0).reshape(small.shape[dim], -1)
    at = torch.searchsorted(order.values, values.contiguous()).clamp(max=large.numel() - 1)
    positions = order.indices[at]
    coordinates = positions // math.prod(large.shape[dim + 1 :]) % large.shape[dim]
    return [int(c) for c in coordinates.mode(1).values]


def _plain_error(original: nn.Module, model: nn.Module, kept: Kept, inputs: Inputs) -> float:
    zeroed = copy.deepcopy(original)
    held = dict(zeroed.named_parameters())
    with torch.no_grad():
        for name, dims in kept.items():
            for d, indices in enumerate(dims):
                gone = sorted(set(range(held[name].shape[d])) - set(indices))
                held[name].index_fill_(d, torch.tensor(gone, dtype=torch.long), 0)
        expected, got = (tensors(call(m.eval(), inputs)) for m in (zeroed, model))
    if [t.shape for t in got] != [t.shape for t in expected]:
        return math.inf
    scale = max(float(t.double().abs().max()) for t in expected if t.numel())
    error = max(float((a.double() - b.double()).abs().max()) for a, b in zip(got, expected, strict=True) if b.numel())
    return error / scale if scale else error


def _along_axes(found: Axes, kept: Kept) -> dict[Axis, Tensor] | None:
    """Returns the kept indices of each axis, or None where the cut is not one along axes."""
    keep: dict[Axis, Tensor] = {}
    for axis in found:
        masks = [
            _of_axis(axis, part.expr, set(kept[part.tensor][part.dim])) for part in axis.slices if part.tensor in kept
        ]
        if not masks:
            continue
        if any(not torch.equal(mask, masks[0]) for mask in masks) or not bool(masks[0].any()):
            return None
        if not bool(masks[0].all()):
            keep[axis] = masks[0].nonzero().flatten()
    cut = {(s.tensor, s.dim): s.keep.tolist() for s in found.slices(keep)} if keep else {}
    for name, dims in kept.items():
        for d, indices in enumerate(dims):
            whole = list(range(found.graph.tensors[name].shape[d]))
            if indices != cut.get((name, d), whole):
                return None
    return keep


def _of_axis(axis: Axis, expr: Any, kept: set[int]) -> Tensor:
    """Returns which indices of an axis have anything left in one dimension."""
    mask = torch.zeros(axis.size, dtype=torch.bool)
    for index in range(axis.size):
        others = torch.arange(axis.size) != index
        mask[index] = not kept.isdisjoint((~kept_mask(expr, {axis.atom: others})).nonzero().flatten().tolist())
    return mask
