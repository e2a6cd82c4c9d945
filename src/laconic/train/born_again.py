"""Generations of students, each of which teaches the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from laconic.core.errors import check_whole
from laconic.core.task import Task
from laconic.distill import DistillationLoss, Ensemble
from laconic.train.teach import distill
from laconic.train.training import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class BornAgain:
    """Students that have learned one from the other.

    Args:
        generations: from the first to the last.
    """

    generations: tuple[nn.Module, ...]

    @property
    def model(self) -> nn.Module:
        """The last one."""
        return self.generations[-1]

    def ensemble(self, temperature: float = 1.0) -> Ensemble:
        """Returns all of them as one, which the paper finds better than any."""
        return Ensemble(self.generations, temperature=temperature)


def born_again(
    teacher: nn.Module,
    build: Callable[[], nn.Module],
    task: Task,
    *,
    generations: int = 3,
    loss: DistillationLoss | None = None,
    training: Training | None = None,
    epochs: int | None = None,
    work: str | Path | None = None,
) -> BornAgain:
    """Trains students one after the other, each with the one before as its teacher.

    Students of the teacher's own size are the paper's case: they become better than it.

    Args:
        teacher: of the first one; left as it is.
        build: makes an untrained student; called once for each.
        task: `task.train` is the data.
        generations: how many, from 1.
        loss: how answers are compared; None: as in `distill`.
        training: how each of them is trained; None: AdamW with a cosine schedule for `epochs`.
        epochs: passes over the data for each in place of `training`; None: 10.
        work: folder for the checkpoints, one folder in it for each; what was killed goes on where it was.

    Raises:
        UsageError: no generations.

    Reference:
        Furlanello, Lipton, Tschannen, Itti, Anandkumar, 2018, arXiv:1805.04770.
    """
    check_whole("born_again.generations", generations, 1)
    found: list[nn.Module] = []
    for i in range(generations):
        folder = None if work is None else Path(work) / f"generation-{i + 1}"
        before = found[-1] if found else teacher
        found.append(distill(before, build(), task, loss=loss, training=training, epochs=epochs, work=folder))
    return BornAgain(generations=tuple(found))
