"""When a run looks at data that it does not learn from, and what it does about what it sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from laconic.core.errors import UsageError, check_whole, invalid
from laconic.core.task import Task
from laconic.measure import evaluate
from laconic.measure.answers import Answer


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """Scores the model now and then with `Task.metric`; the run ends with the weights that scored best.

    Args:
        batches: what to score on, with labels: neither the training data nor `Task.evaluate`, on which nothing may be
            chosen. `held_back(task)` splits some off. Every process reads all of it.
        every: steps between two scores; None: once an epoch. The end of the run is scored too.
        patience: end the run after so many scores in a row that are no better than the best; None: never.
        margin: by how much a score must be better to be the best, 0 or more.

    Raises:
        UsageError: a value outside its domain.
    """

    batches: Iterable[Any]
    every: int | None = None
    patience: int | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.batches, Iterator) or not isinstance(self.batches, Iterable):
            raise invalid("Validation.batches", self.batches, "something that can be walked more than once")
        for name in ("every", "patience"):
            value = getattr(self, name)
            if value is not None:
                check_whole(f"Validation.{name}", value, 1)
        if not 0 <= self.margin < float("inf"):
            raise invalid("Validation.margin", self.margin, "0 or a positive number")

    def __str__(self) -> str:
        return f"every={self.every}, patience={self.patience}, margin={self.margin}"

    def check(self, task: Task) -> None:
        """Refuses the data of the final figures.

        Raises:
            UsageError: the batches are those of `Task.evaluate`.
        """
        if _source(self.batches) is _source(task.evaluate):
            raise UsageError(
                "Validation.batches: got Task.evaluate; expected data of its own, or the figures would be of data that "
                "the weights were chosen on. Split some off: task, batches = laconic.train.held_back(task)."
            )

    def score(self, model: nn.Module, task: Task, device: torch.device) -> float:
        """Returns the model's score; its modes are as before."""
        modes = {module: module.training for module in model.modules()}
        try:
            model.eval()
            return evaluate(
                _answers(model, replace(task, evaluate=self.batches), device), task.score, resamples=0
            ).value
        finally:
            for module, training in modes.items():
                module.training = training


@final
@dataclass(kw_only=True)
class Watched:
    """What a run has seen so far of data that it does not learn from."""

    scores: list[tuple[int, float]] = field(default_factory=list)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)

    def note(self, step: int, score: float, *, higher: bool, margin: float) -> bool:
        """Takes a score; returns whether it is the best so far."""
        sign = 1 if higher else -1
        better = not self.scores or sign * (score - self.scores[self.best][1]) > margin
        self.scores.append((step, score))
        if better:
            self.best = len(self.scores) - 1
        return better

    @property
    def waited(self) -> int:
        """Scores since the best."""
        return len(self.scores) - 1 - self.best


@torch.no_grad()
def _answers(model: nn.Module, task: Task, device: torch.device) -> Iterator[Answer]:
    for batch in task.batches("evaluate"):
        logits = task.forward(model, batch.to(device))
        yield Answer(batch=batch, logits=logits.float().cpu())


def _source(batches: Iterable[Any]) -> object:
    return getattr(batches, "dataset", batches)
