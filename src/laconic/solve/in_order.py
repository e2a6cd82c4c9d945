"""Layers coded one after the other, each for the inputs that the ones before leave it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from laconic.calibrate import Layer, LayerEvidence, layers
from laconic.calibrate.moments import FULL
from laconic.calibrate.untouched import untouched
from laconic.core.apply import apply
from laconic.core.coding import Coding
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.solve.inputs import answer_to_change
from laconic.solve.lockstep import Lockstep
from laconic.solve.statistics import Moments, absorbing
from laconic.solve.vectors import MULTIPLYING, channel_axis

Encode = Callable[[Tensor, Layer, LayerEvidence], Coding]


def code_in_order(
    model: nn.Module,
    plan: Plan,
    task: Task,
    encode: Encode,
    *,
    parameters: Collection[str] | None = None,
    settled: Collection[str] = (),
    samples: int = 1024,
) -> Plan:
    """Adds to a plan the coding of one layer after the other, each for the inputs that the changed model gives it.

    The original and the changed model read the same batches side by side. When all have come to a layer with inputs
    `x` and `x'`, its weight becomes the one whose answers to `x'` are nearest to the original's to `x`,

        W' = W E[x x'^T] E[x' x'^T]^-1,

    as far as samples held back confirm it, and is coded for `E[x' x'^T]`. Running statistics of batch normalisations
    absorb what is left, and biases take back their outputs' shift, before anything goes on. A layer that is given other
    samples by the changed model, as an expert may be, is coded for `E[x' x'^T]` as it was.

    This holds the activations of all samples at once, twice.

    Args:
        model: the original, left untouched.
        plan: what is done to it besides; what it recodes and is coded here, is coded anew.
        task: its `calibrate` data is read, without labels.
        encode: `(weight, layer, evidence) -> coding`.
        parameters: which weights may be coded; None: all. Those of linear layers and convolutions are that run exactly
            once, own their weight, and read something else than zeros; the rest stays as the plan has it, and a caller
            codes it as it sees fit.
        settled: which weights and biases stay as the plan has them, whatever `parameters` says.
        samples: at most so many are read.

    Raises:
        ModelError: the model takes different paths for different batches.

    Reference:
        Frantar et al. 2022, arXiv:2210.17323 (layers in order, on inputs already compressed); Nagel et al. 2019,
        arXiv:1906.04721 (biases).
    """
    changed = apply(model, plan)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches = list(task.batches("calibrate", device=device, limit=samples))
    with ExitStack() as stack:
        for side in (model, changed):
            stack.enter_context(untouched(side, gradients=False, seed=0))
        places = _places(model, changed, called_once(model, task, batches[0]), parameters, settled)
        walk = _Walk(dict(model.named_modules()), dict(changed.named_modules()), places.coded, encode)
        steps = Lockstep(walk.at)
        for side in (model, changed):
            stack.enter_context(_stopping(dict(side.named_modules()), places, steps))
        steps.run([partial(_answer, side, task, batch) for side in (model, changed) for batch in batches])
    anew = {edit.parameter for edit in walk.edits}
    kept = [edit for edit in plan if not (isinstance(edit, Recode) and edit.parameter in anew)]
    return Plan.of([*kept, *walk.edits])


class _Places(NamedTuple):
    """Paths of modules: what is coded, which normalisations absorb what is left, which biases take back a shift."""

    coded: dict[str, Layer]
    norms: tuple[str, ...]
    biases: tuple[str, ...]


@dataclass
class _Walk:
    """What happens at each place, once all passes are there: those of the original first, then those of the other.

    Args:
        original: modules by path.
        changed: the same of the model that changes.
        coded: the layers to be coded.
        encode: codes a weight.
    """

    original: Mapping[str, nn.Module]
    changed: Mapping[str, nn.Module]
    coded: Mapping[str, Layer]
    encode: Encode
    edits: list[Recode] = field(default_factory=list)

    def at(self, place: tuple[str, str], values: list[Tensor]) -> list[Tensor]:
        side, path = place
        before, after = values[: len(values) // 2], values[len(values) // 2 :]
        # Where a router sends other samples to a layer, or none, there is nothing to compare.
        alike = all(x.shape == y.shape for x, y in zip(before, after, strict=True)) and any(x.numel() for x in after)
        if side == "input" and path in self.coded:
            self._code(path, before if alike else after, after)
        elif side == "input" and alike:
            self._absorb(path, before, after)
        elif alike:
            return before + self._shift_back(path, before, after)
        return values

    def _code(self, path: str, before: list[Tensor], after: list[Tensor]) -> None:
        old, module, layer = self.original[path], self.changed[path], self.coded[path]
        assert isinstance(old, MULTIPLYING) and isinstance(module, MULTIPLYING)
        matrix, seen = answer_to_change(module, layer.matrix(old.weight.detach().cpu()), before, after)
        if not bool(seen.second.any()):
            return
        evidence = LayerEvidence(
            layer=layer,
            input_sum=seen.second,
            gradient_sum=None,
            positions=torch.full((layer.groups,), seen.positions),
            predictions=sum(len(x) for x in after),
        )
        self._set(layer.parameter, module.weight, self.encode(layer.weight(matrix), layer, evidence))

    def _absorb(self, path: str, before: list[Tensor], after: list[Tensor]) -> None:
        norm, old = self.changed[path], self.original[path]
        assert isinstance(norm, _BatchNorm) and isinstance(old, _BatchNorm)
        for name, value in absorbing(old, Moments.of(before, 1), Moments.of(after, 1)).items():
            self._set(f"{path}.{name}".removeprefix("."), getattr(norm, name), Dense.of(value))

    def _shift_back(self, path: str, before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
        module = self.changed[path]
        assert isinstance(module, MULTIPLYING) and module.bias is not None
        axis = channel_axis(module)
        shift = (Moments.of(after, axis).mean - Moments.of(before, axis).mean).to(module.bias)
        self._set(f"{path}.bias".removeprefix("."), module.bias, Dense.of(module.bias - shift))
        return [x - shift.reshape(-1, *[1] * (-1 - axis)) for x in after]

    def _set(self, name: str, tensor: Tensor, coding: Coding) -> None:
        tensor.copy_(coding.decode())
        self.edits.append(Recode(name, coding))


def called_once(model: nn.Module, task: Task, batch: Batch) -> list[str]:
    """Returns the paths of modules that one forward pass calls once, with a tensor as their first argument."""
    calls: Counter[str] = Counter()

    def count(path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        calls[path] += 1 if args and isinstance(args[0], Tensor) else 2

    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(partial(count, path)).remove)
        task.forward(model, batch)
    return [path for path, times in calls.items() if times == 1]


def _places(
    model: nn.Module,
    changed: nn.Module,
    once: Collection[str],
    parameters: Collection[str] | None,
    settled: Collection[str],
) -> _Places:
    known = {layer.parameter: layer for layer in layers(model)}
    holders = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    modules, others = dict(model.named_modules()), dict(changed.named_modules())
    same = [path for path in once if path in others and _shapes(modules[path]) == _shapes(others[path])]
    coded = {
        path: known[name]
        for path, name in ((path, f"{path}.weight".removeprefix(".")) for path in same)
        if isinstance(modules[path], MULTIPLYING)
        and holders[id(modules[path].weight)] == 1
        and (parameters is None or name in parameters)
        and name not in settled
        and known[name].matrix_shape[2] <= FULL
    }
    norms = [path for path in same if isinstance(modules[path], _BatchNorm) and modules[path].running_mean is not None]
    biased = [path for path in same if isinstance(modules[path], MULTIPLYING) and modules[path].bias is not None]
    biases = [path for path in biased if f"{path}.bias".removeprefix(".") not in settled]
    return _Places(coded, tuple(norms), tuple(biases))


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


@contextmanager
def _stopping(modules: Mapping[str, nn.Module], places: _Places, steps: Lockstep) -> Iterator[None]:
    """Inside, modules wait for each other at the places."""

    def on_input(path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        steps.meet(("input", path), args[0])

    def on_output(path: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        found: Tensor = steps.meet(("output", path), output)
        return found

    with ExitStack() as stack:
        for path in (*places.coded, *places.norms):
            stack.callback(modules[path].register_forward_pre_hook(partial(on_input, path)).remove)
        for path in places.biases:
            stack.callback(modules[path].register_forward_hook(partial(on_output, path)).remove)
        yield


@torch.no_grad()
def _answer(model: nn.Module, task: Task, batch: Batch) -> None:
    task.forward(model, batch)
