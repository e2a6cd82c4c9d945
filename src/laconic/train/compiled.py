"""A teacher that answers quicker, where compiling it pays."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from laconic.core.task import Batch, Task
from laconic.distill.answering import answering

ROUNDS, PAYS = 5, 0.9


def compiled(teacher: nn.Module, task: Task) -> nn.Module:
    """Returns the teacher compiled by `torch.compile` if that pays, else the teacher itself.

    Both are asked about the first training batch in turn. Compiled is kept if its quickest time is at most 0.9 of the
    other's and the answers agree; a teacher that cannot be compiled is left with a warning. Compiling takes seconds to
    minutes once, and anew for batches of another shape: for long runs. Layers of a compiled teacher cannot be heard, so
    not with `match`.

    Args:
        teacher: left as it is; compiled it shares its weights.
        task: how it is called.
    """
    with answering(teacher) as device:
        batch = next(task.batches("train")).to(device)
        quick: nn.Module = torch.compile(teacher)  # type: ignore[assignment]  # It is typed as a function.
        try:
            agree = _agree(task.forward(quick, batch), task.forward(teacher, batch))
        except Exception as error:  # A compiler may fail in any way, and the teacher is still there.
            first = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(f"compiled: the teacher stays as it is, as torch.compile fails: {first}", stacklevel=2)
            return teacher
        return quick if agree and _pays(task, quick, teacher, batch) else teacher


def _agree(one: Tensor, other: Tensor) -> bool:
    scale = float(other.float().abs().max())
    return torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-4 * scale)


def _pays(task: Task, quick: nn.Module, teacher: nn.Module, batch: Batch) -> bool:
    seconds: dict[nn.Module, list[float]] = {quick: [], teacher: []}
    for _ in range(ROUNDS):
        for model, found in seconds.items():
            found.append(seconds_of(lambda model=model: task.forward(model, batch)))  # type: ignore[misc]
    return min(seconds[quick]) <= PAYS * min(seconds[teacher])


def seconds_of(ask: Callable[[], Tensor]) -> float:
    """Returns the time of one answer, until it is there."""
    begun = time.perf_counter()
    ask().sum().item()  # A GPU answers later than it returns.
    return time.perf_counter() - begun
