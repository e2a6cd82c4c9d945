"""How far a changed model answers from the original, on samples that nothing was fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from laconic.calibrate.untouched import untouched
from laconic.core.task import Batch, Task
from laconic.measure import kl_divergence


@dataclass(frozen=True, kw_only=True, eq=False)
class Yardstick:
    """Calibration batches and the original's answers to them.

    Args:
        task: how to call a model.
        batches: held back from what evidence was gathered on, where there are more.
        answers: the original's logits.
    """

    task: Task
    batches: tuple[Batch, ...]
    answers: tuple[Tensor, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, task: Task, *, samples: int, skip: int) -> Self:
        """Lets the original answer.

        Args:
            model: the original; left untouched.
            task: its calibration data is read.
            samples: how many are read.
            skip: how many come before them, unless there are no more than those.
        """
        with untouched(model, gradients=False, seed=0):
            batches = tuple(_held_back(task, samples, skip))
            answers = tuple(task.forward(model, batch) for batch in batches)
        return cls(task=task, batches=batches, answers=answers)

    @property
    def most(self) -> float:
        """Nats that a model which answers evenly is away at most: log of the classes; infinite in a regression."""
        return math.inf if self.task.score.regression else math.log(self.answers[0].shape[-1])

    @torch.no_grad()
    def nats(self, changed: nn.Module) -> float:
        """Returns the mean KL in nats from the original's answers to those of a model in eval mode, over predictions.

        For a regression each value is the mean of a normal distribution of variance one.
        """
        pairs = zip(self.batches, self.answers, strict=True)
        found = [self._distance(answer, self.task.forward(changed, batch)).flatten() for batch, answer in pairs]
        return float(torch.cat(found).mean())

    def _distance(self, original: Tensor, changed: Tensor) -> Tensor:
        if self.task.score.regression:
            return 0.5 * (original - changed).double().square()
        return kl_divergence(original, changed)


def _held_back(task: Task, samples: int, skip: int) -> list[Batch]:
    later, seen, taken = [], 0, 0
    for batch in task.batches("calibrate"):
        seen += batch.size
        if seen > skip and taken < samples:
            later.append(batch)
            taken += batch.size
        if taken >= samples:
            break
    return later or list(task.batches("calibrate", limit=samples))
