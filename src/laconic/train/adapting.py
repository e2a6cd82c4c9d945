"""Weights and temperatures that follow what the student scores on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast, final

import torch
from torch import Tensor, nn

from laconic.core.errors import UsageError, invalid
from laconic.core.task import Batch, Task
from laconic.distill import Knob, Rule
from laconic.train.describe import describe
from laconic.train.objective import Moment, Objective
from laconic.train.step import Step

MOST_SCORES = 4096


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Adapting:
    """An objective whose knobs stand, after every score, as their rules say; as a callback it listens to the scores.

    The scores are saved with the run: one that is resumed has its knobs where they were.

        knob = Knob()
        loss = Sum(losses=(Labels(), Weighted(loss=SoftLabels(temperature=4), schedule=knob)))
        adapting = Adapting(given=distillation(teacher, task, loss), task=task, rules={knob: OnPlateau(factor=0.5)})
        train(student, task, training, objective=adapting.objective, callbacks=[adapting],
              validation=Validation(batches=...))

    Args:
        given: an objective whose loss has the knobs in it.
        task: its metric says which scores are better.
        rules: of each knob.

    Raises:
        UsageError: there are no rules.
    """

    given: Objective
    task: Task
    rules: Mapping[Knob, Rule]
    _heard: list[_Scores] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.rules:
            raise invalid("Adapting.rules", dict(self.rules), "at least one knob with its rule")

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        said = ", ".join(map(describe, self.rules.values()))
        name = f"{self.given.name} adapted by {said}"
        return replace(self.given, terms=self._terms, parts=self._parts, after=self._after, name=name)

    def __call__(self, step: Step) -> None:
        """Takes a step's score, if it has one.

        Raises:
            UsageError: the objective is not the one that is trained.
        """
        if not self._heard:
            raise UsageError("Adapting: got steps of another objective; expected train(objective=adapting.objective).")
        if step.score is not None:
            self._heard[0].note(step.score)

    def _parts(self, model: nn.Module, batch: Batch) -> nn.Module:
        for knob in self.rules:
            knob.value = 1.0
        self._heard[:] = [_Scores(None if self.given.parts is None else self.given.parts(model, batch))]
        return self._heard[0]

    def _terms(self, model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        own = cast(_Scores, moment.parts)
        if found := own.scores():
            for knob, rule in self.rules.items():
                knob.value = rule(found, higher_is_better=self.task.score.higher_is_better)
        return self.given.terms(model, batch, replace(moment, parts=own.inner))

    def _after(self, model: nn.Module, moment: Moment) -> None:
        if self.given.after is not None:
            self.given.after(model, replace(moment, parts=cast(_Scores, moment.parts).inner))


@final
class _Scores(nn.Module):
    """The scores of a run so far, and what its objective has of its own."""

    table: Tensor
    count: Tensor

    def __init__(self, inner: nn.Module | None) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("table", torch.zeros(MOST_SCORES, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def note(self, score: float) -> None:
        """Takes one more; of too many the oldest go."""
        if int(self.count) == MOST_SCORES:
            self.table.copy_(self.table.roll(-1))
            self.count -= 1
        self.table[int(self.count)] = score
        self.count += 1

    def scores(self) -> list[float]:
        """Returns all, from the first to the last."""
        found: list[float] = self.table[: int(self.count)].tolist()
        return found
