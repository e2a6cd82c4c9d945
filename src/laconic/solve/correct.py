"""Normalisation and biases that take back what a plan shifts and stretches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from laconic.calibrate.untouched import untouched
from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.solve.in_order import called_once
from laconic.solve.statistics import Moments, absorbing
from laconic.solve.vectors import MULTIPLYING, channel_axis


def correct(model: nn.Module, plan: Plan, task: Task, *, samples: int = 1024) -> Plan:
    """Returns a plan with edits added that give each channel the mean, and where possible the variance, it had before.

    For plans whose layers were changed one by one: an error that is alike at all places of an image is felt far more
    than others, and this takes it back. Layers coded in order (`in_order=True`) have it done already.

    Both models see the same batches. What goes into each batch normalisation is compared channel by channel, and its
    running statistics absorb the difference. Biases of linear layers and convolutions move by the difference of their
    outputs' means. What lies further on sees the corrected values. Only the change of statistics is used, since a few
    samples' own ones are far worse than those of training.

    Args:
        model: the original, left untouched.
        plan: what is done to it.
        task: its `calibrate` data is read, without labels.
        samples: at most so many are read.

    Guarantees:
        A plan that changes no value inside the model gets no edits.
        Modules that the plan swaps, or whose channels it cuts, stay as the plan leaves them; so do normalisations that
        one forward pass calls several times, and all that either model gives no sample.

    Reference:
        Nagel et al. 2019, arXiv:1906.04721, section 4.2 (bias correction on data).

    Example:
        >>> model, task = nn.Sequential(nn.Linear(4, 3)), Task(evaluate=[torch.randn(8, 4)])
        >>> zeros = Plan.of([Recode("0.weight", Dense.of(torch.zeros(3, 4)))])
        >>> [edit.where for edit in correct(model, zeros, task)]
        ['0.weight', '0.bias']
    """
    changed = apply(model, plan)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches = iter(task.batches("calibrate", device=device, limit=samples))
    with ExitStack() as stack:
        stack.enter_context(untouched(model, gradients=False, seed=0))
        stack.enter_context(untouched(changed, gradients=False, seed=0))
        example = next(batches)
        sites = dict(_sites(model, changed, called_once(model, task, example)))
        for site in sites.values():
            site.watch(stack)
        for batch in chain([example], batches):
            task.forward(model, batch)
            task.forward(changed, batch)
        return plan + Plan.of(edit for path, site in sites.items() for edit in site.edits(path))


@dataclass
class _Normalisation:
    """A batch normalisation in both models."""

    original: _BatchNorm
    changed: _BatchNorm
    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)

    def watch(self, stack: ExitStack) -> None:
        def first(module: nn.Module, args: tuple[Any, ...]) -> None:
            self.before.add(args[0], 1)

        def second(module: nn.Module, args: tuple[Any, ...]) -> None:
            self.after.add(args[0], 1)
            for name, value in self.statistics().items():
                getattr(module, name).copy_(value)

        stack.callback(self.original.register_forward_pre_hook(first).remove)
        stack.callback(self.changed.register_forward_pre_hook(second).remove)

    def statistics(self) -> dict[str, Tensor]:
        known = self.before.count and self.after.count
        return absorbing(self.original, self.before, self.after) if known else {}

    def edits(self, path: str) -> Iterator[Recode]:
        for name, value in self.statistics().items():
            yield from _edit(f"{path}.{name}".removeprefix("."), value, getattr(self.original, name))


@dataclass
class _Bias:
    """A layer with a bias in both models."""

    original: nn.Linear | _ConvNd
    changed: nn.Linear | _ConvNd
    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)

    def watch(self, stack: ExitStack) -> None:
        axis = channel_axis(self.original)

        def first(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            self.before.add(output, axis)

        def second(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            self.after.add(output, axis)
            shift = self.shift.to(output)
            return output - shift.reshape(-1, *[1] * (-1 - axis))

        stack.callback(self.original.register_forward_hook(first).remove)
        stack.callback(self.changed.register_forward_hook(second).remove)

    @property
    def shift(self) -> Tensor:
        known = self.before.count and self.after.count
        return self.after.mean - self.before.mean if known else torch.zeros(1, dtype=torch.float64)

    def edits(self, path: str) -> Iterator[Recode]:
        if self.changed.bias is not None:
            bias = self.changed.bias.detach().cpu()
            yield from _edit(f"{path}.bias".removeprefix("."), bias.double() - self.shift, bias)


def _edit(name: str, value: Tensor, old: Tensor) -> Iterator[Recode]:
    if not torch.equal(value.to(old), old):
        yield Recode(name, Dense.of(value))


def _sites(model: nn.Module, changed: nn.Module, once: Collection[str]) -> Iterator[tuple[str, _Normalisation | _Bias]]:
    modules = dict(changed.named_modules())
    for path, one in model.named_modules():
        other = modules.get(path)
        if other is None or _shapes(one) != _shapes(other):
            continue
        if isinstance(one, _BatchNorm) and isinstance(other, _BatchNorm):
            if one.running_mean is not None and path in once:
                yield path, _Normalisation(one, other)
        elif isinstance(one, MULTIPLYING) and isinstance(other, MULTIPLYING) and one.bias is not None:
            yield path, _Bias(one, other)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}
