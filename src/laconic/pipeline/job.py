"""Everything that one compression depends on."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Self

import torch
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.errors import invalid
from laconic.core.files import sha256
from laconic.core.plain_weights import plain_weights
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss
from laconic.graph.sizes import Sizes, input_names, sizes_of, with_sizes
from laconic.pipeline.checks import check_budget, check_drop, check_model, check_target, check_task
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.progress import Progress, Silent
from laconic.pipeline.steady import steady
from laconic.train import AdamW, Training, default_loss


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How the compressed model learns from the original.

    Args:
        training: how long, with which optimizer.
        loss: what to match; None: `laconic.train.default_loss`.
        minutes: how long one attempt may learn on this machine, where `training` would take longer: a few steps are
            timed, and as many made as fit. None: as long as `training` says.
    """

    training: Training = field(
        default_factory=lambda: Training(epochs=10, optimizer=AdamW(learning_rate=5e-4, weight_decay=0.0), noise=False)
    )
    loss: DistillationLoss | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise invalid("Recovery.minutes", self.minutes, "a positive number, or None", "recovery=None: no training.")

    @classmethod
    def for_epochs(cls, epochs: int, *, minutes: float | None = None, seed: int = 0) -> Recovery:
        """Returns the usual recovery, with another length and seed."""
        return cls(training=replace(cls().training, epochs=epochs, seed=seed), minutes=minutes)

    def describe(self) -> str:
        """Returns what decides the outcome, the same in every process."""
        return repr((self.training.describe(), self.loss, self.minutes))

    def lesson(self, task: Task) -> DistillationLoss:
        """Returns the loss that a task is recovered with."""
        return self.loss or default_loss(task)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A model, what it is for, and what is asked of it.

    Args:
        model: the original, each of its weights a parameter.
        task: its data and metric.
        budget: the limits.
        target: where it will run.
        recovery: how it is recovered; None: not at all.
        samples: calibration samples.
        seed: of everything random.
        command: the command that repeats the job, for the report.
        progress: told what is going on.
        first: what leads from the user's model to `model`; every plan begins with it.
        fixed: sizes of the inputs that change from call to call, but that the model has to take as one -> why.
    """

    model: nn.Module
    task: Task
    budget: Budget
    target: Target
    recovery: Recovery | None
    samples: int = 1024
    seed: int = 0
    command: str = ""
    progress: Progress = field(default_factory=Silent)
    first: Plan = field(default_factory=Plan)
    fixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def recovers(self) -> bool:
        """Whether there is something to learn from and a wish to."""
        return self.recovery is not None and self.task.train is not None

    def example(self) -> Batch:
        """Returns the first evaluation batch."""
        return next(self.task.batches("evaluate"))

    def inputs(self) -> list[tuple[str, Tensor]]:
        """Returns the example's input tensors with their names."""
        example = self.example()
        return list(zip(input_names(self.model, example), example.inputs, strict=True))

    def sizes(self) -> Sizes:
        """Returns the sizes of the example's inputs that may change."""
        return sizes_of(self.model, self.task, self.example())

    def taking(self, kernels: Kernels) -> Self:
        """Returns the job for the sizes that the exported original takes: what it cannot, nothing smaller needs to."""
        return replace(self, task=replace(self.task, dynamic=kernels.dynamic), fixed=kernels.fixed)

    def fingerprint(self) -> str:
        """Returns a digest of everything that decides the outcome: a work folder of another job is not gone on with."""
        settings = {
            "laconic": version("laconic"),
            "model": repr(self.model),
            "metric": self.task.score.name,
            "sizes": sorted((name, sorted(dims.items())) for name, dims in (self.task.dynamic or {}).items()),
            "budget": self.budget.config(),
            "target": str(self.target),
            "recovery": self.recovery and self.recovery.describe(),
            "samples": self.samples,
            "seed": self.seed,
        }
        tensors = [*self.model.state_dict().items(), *enumerate(self.example().inputs)]
        # Objects without a name of their own print their address, which is another one in the next process.
        words = re.sub(r" at 0x[0-9a-f]+", "", json.dumps(settings, sort_keys=True))
        return sha256(words.encode() + b"".join(_digest(t) for _, t in tensors if isinstance(t, Tensor)))


def _digest(tensor: Tensor) -> bytes:
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return sha256(raw).encode()


def job_of(
    model: nn.Module,
    task: Task,
    budget: Budget | None,
    target: str | Target,
    *,
    recovery: Recovery | None,
    samples: int,
    seed: int,
    command: str,
    progress: Progress | None,
) -> Job:
    """Checks what a user gives, and makes a job of it.

    Raises:
        UsageError, ModelError, DataError: as of `pipeline.checks`.
    """
    where = Target.parse(target)
    check_target(where)
    check_model(model)
    check_budget(budget)
    first = plain_weights(model)
    job = Job(
        model=apply(_on_cpu(model), first) if len(first) else _on_cpu(model),
        task=task,
        budget=budget or Budget(),
        target=where,
        recovery=recovery,
        samples=samples,
        seed=seed,
        command=command or _call(model, budget or Budget(), target),
        progress=progress or Silent(),
        first=first,
    )
    check_task(job.model, task)
    check_drop(job.budget, task)
    return replace(job, task=with_sizes(job.model, steady(task, seed=seed)))


def _call(model: nn.Module, budget: Budget, target: str | Target) -> str:
    """Returns the call that repeats a job, as Python."""
    limits = ", ".join(f"{name}={value!r}" for name, value in budget.config().items())
    return f"laconic.compress({type(model).__name__}, task, laconic.Budget({limits}), {str(target)!r})"


def _on_cpu(model: nn.Module) -> nn.Module:
    """Returns the model itself where it is on the CPU, where it will be exported and measured, else a copy that is."""
    tensors = (*model.parameters(), *model.buffers())
    return model if all(t.device.type == "cpu" for t in tensors) else copy.deepcopy(model).cpu()
