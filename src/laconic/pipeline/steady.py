"""Calibration data that comes alike each time, so that a run that was killed finds what it found before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from laconic.core.task import Task
from laconic.train.randomness import capture, restore, seed_all, undisturbed

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Steady:
    """A loader whose shuffling and augmentation start from the same seed at every pass.

    The random state of whoever reads it stays as it is.

    Args:
        loader: yields batches.
        seed: of every pass.
    """

    loader: Iterable[Any]
    seed: int

    def __iter__(self) -> Iterator[Any]:
        with undisturbed(CPU):
            seed_all(self.seed)
            batches, state = iter(self.loader), capture(CPU)
        while True:
            with undisturbed(CPU):
                restore(state, CPU)
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                state = capture(CPU)
            yield batch


def steady(task: Task, *, seed: int) -> Task:
    """Returns the task with calibration data that comes alike at every pass."""
    return replace(task, calibrate=Steady(loader=task.loader("calibrate"), seed=seed))
