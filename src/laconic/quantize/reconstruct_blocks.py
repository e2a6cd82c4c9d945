"""Which parts of a model are reconstructed as one: residual and transformer blocks, found without settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn

from laconic.core.task import Batch, Task

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
FEWEST = 2  # Coded weights of a block: one alone is fitted to its outputs when it is coded.


def blocks(model: nn.Module, task: Task, batch: Batch, coded: Collection[str]) -> list[str]:
    """Returns the paths of a model's blocks in the order of execution; no block lies inside another.

    A block is a module that holds at least two coded weights, is called once and returns a tensor. Of nested ones the
    outermost is taken whose class occurs several times in the model, as residual and transformer blocks do; where none
    repeats, the innermost. The model itself and mere containers (`nn.Sequential`) are not blocks.

    Args:
        model: in eval mode, without gradients.
        task: how it is called.
        batch: an example.
        coded: names of parameters.
    """
    modules = dict(model.named_modules())
    candidates = [
        path
        for path in _called_once(model, task, batch)
        if path and not isinstance(modules[path], CONTAINERS) and sum(_inside(name, path) for name in coded) >= FEWEST
    ]
    kinds = Counter(type(modules[path]) for path in candidates)
    repeated = [path for path in candidates if kinds[type(modules[path])] > 1]
    outermost = [path for path in repeated if not any(_inside(path, other) for other in repeated)]
    innermost = [path for path in candidates if not any(_inside(other, path) for other in candidates)]
    alone = [path for path in innermost if not any(_inside(path, o) or _inside(o, path) for o in outermost)]
    chosen = {*outermost, *(path for path in alone if path not in outermost)}
    return [path for path in candidates if path in chosen]


def _inside(name: str, path: str) -> bool:
    return name.startswith(f"{path}.")


def _called_once(model: nn.Module, task: Task, batch: Batch) -> Iterator[str]:
    """Yields the paths of modules that one forward pass calls once, with a tensor as their only result."""
    order: list[str] = []
    tensors: Counter[str] = Counter()

    def enter(path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        order.append(path)

    def leave(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        tensors[path] += isinstance(output, Tensor)

    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(partial(enter, path)).remove)
            stack.callback(module.register_forward_hook(partial(leave, path)).remove)
        task.forward(model, batch)
    calls = Counter(order)
    yield from (path for path in order if calls[path] == tensors[path] == 1)
