"""How long a compressed model learns from the original: as asked for, or as many steps as the time allows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Self

import torch
from torch import nn

from laconic.core.apply import apply
from laconic.core.files import read_json, write_json
from laconic.core.plan import Plan
from laconic.pipeline.job import Job
from laconic.train import Training, distillation
from laconic.train.objective import Moment

LENGTH, TIMED = "length.json", 3


def training_of(job: Job, student: nn.Module, folder: Path) -> Training:
    """Returns the training of one attempt; where time is limited, a run that was killed goes on with the same length.

    Args:
        job: with a recovery.
        student: what will learn; it is left as it is.
        folder: where the length is kept.
    """
    assert job.recovery is not None
    training, minutes = job.recovery.training, job.recovery.minutes
    if minutes is None:
        return training
    if not (folder / LENGTH).exists():
        write_json(folder / LENGTH, _steps(job, seconds_a_step(job, student)))
    return replace(training, epochs=None, steps=read_json(folder / LENGTH))


@dataclass(frozen=True, kw_only=True)
class Schooling:
    """What one attempt may learn.

    Args:
        steps: that it makes.
        seconds: that they take on this machine, about.
        once: steps of one pass over the training data.
    """

    steps: int
    seconds: float
    once: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """Times a few steps of a job with a recovery."""
        assert job.recovery is not None
        seconds = seconds_a_step(job, apply(job.model, Plan()).eval())
        steps = _steps(job, seconds)
        once = job.recovery.training.epoch_steps(job.task.loader("train"))
        return cls(steps=steps, seconds=steps * seconds, once=once)


def seconds_a_step(job: Job, student: nn.Module) -> float:
    """Times the losses of one batch and their gradients; nothing is learnt."""
    assert job.recovery is not None
    teacher = apply(job.model, Plan()).eval()
    objective = distillation(teacher, job.task, job.recovery.lesson(job.task))
    batch = next(job.task.batches("train"))
    parts = None if objective.parts is None else objective.parts(student, batch)
    parameters = [p for p in student.parameters() if p.requires_grad]
    times = []
    for _ in range(1 + TIMED):
        start = time.monotonic()
        terms = objective.terms(student, batch, Moment(progress=0.0, parts=parts))
        torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters, allow_unused=True)
        times.append(time.monotonic() - start)
    return median(times[1:])  # The first one warms up.


def _steps(job: Job, seconds: float) -> int:
    assert job.recovery is not None
    steps, minutes = job.recovery.training.total_steps(job.task.loader("train")), job.recovery.minutes
    return steps if minutes is None else max(1, min(steps, int(60 * minutes / seconds)))
