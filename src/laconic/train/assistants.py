"""A student that is far smaller than its teacher learns through networks of the sizes in between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from laconic.core.errors import check_whole, invalid
from laconic.core.task import Task
from laconic.distill import DistillationLoss
from laconic.distill import student as derive
from laconic.train.loop import Progress
from laconic.train.teach import distill
from laconic.train.training import Training, training_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Assisted:
    """A student that has learned through assistants.

    Args:
        model: the student that was given, trained.
        assistants: from the largest to the smallest; each has learned from the one before.
    """

    model: nn.Module
    assistants: tuple[nn.Module, ...]


def distill_through_assistants(
    teacher: nn.Module,
    student: nn.Module,
    task: Task,
    *,
    assistants: int = 1,
    loss: DistillationLoss | None = None,
    training: Training | None = None,
    epochs: int | None = None,
    work: str | Path | None = None,
    progress: Progress | None = None,
) -> Assisted:
    """Trains a student through a chain of assistants, each of which learns from the one before it.

    The assistants are derived from the teacher by `laconic.student`; their numbers of parameters, with those of teacher
    and student, make a geometric sequence: `parameters_i = teacher * (student / teacher)^(i / (assistants + 1))`.

    Args:
        teacher: left as it is.
        student: any module that answers the same task in the same shape, with fewer parameters than the teacher.
        task: `task.train` is the data, `task.calibrate` what assistants are begun with.
        assistants: how many, from 1.
        loss: how answers are compared; None: as in `distill`.
        training: how each of them is trained; None: AdamW with a cosine schedule for `epochs`.
        epochs: passes over the data for each of them in place of `training`; None: 10.
        work: folder for the checkpoints, one folder in it for each; a chain that was killed goes on where it was.
        progress: called after every step, with the steps of the whole chain.

    Raises:
        UsageError: no assistants, or a student that is not smaller than the teacher.
        ModelError: no assistant can be derived from the teacher, or answers differ in shape.

    Reference:
        Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh, 2020, arXiv:1902.03393.
    """
    check_whole("distill_through_assistants.assistants", assistants, 1)
    share = _parameters(student) / _parameters(teacher)
    if not 0 < share < 1:
        raise invalid(
            "distill_through_assistants.student", f"{_parameters(student):,} parameters",
            f"fewer than the teacher's {_parameters(teacher):,}", "Use distill for students that are not smaller.",
        )  # fmt: skip
    training = training_of(training, epochs)
    chain: list[nn.Module] = [teacher]
    for i in range(assistants + 1):
        last = i == assistants
        learner = student if last else derive(teacher, task, size=share ** ((i + 1) / (assistants + 1))).model
        folder = None if work is None else Path(work) / ("student" if last else f"assistant-{i + 1}")
        listen = None if progress is None else _Part(progress, i, assistants + 1)
        distill(chain[-1], learner, task, loss=loss, training=training, work=folder, progress=listen)
        chain.append(learner)
    return Assisted(model=student, assistants=tuple(chain[1:-1]))


@dataclass(frozen=True)
class _Part:
    """One run of several, told as a part of the whole."""

    progress: Progress
    index: int
    count: int

    def __call__(self, step: int, total: int, loss: float) -> None:
        self.progress(self.index * total + step, self.count * total, loss)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
