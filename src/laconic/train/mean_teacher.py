"""A student that learns from the running mean of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss
from laconic.train.describe import describe
from laconic.train.imitation import lesson_of
from laconic.train.objective import Moment, Objective
from laconic.train.running_mean import Mean


def mean_teacher(task: Task, loss: DistillationLoss, *, decay: float = 0.999) -> Objective:
    """Returns the objective of learning from an exponential mean of the model's own weights.

    `teacher = d * teacher + (1 - d) * student` after every step, with `d = min(decay, 1 - 1 / (step + 1))`, so that the
    mean is a plain one at first. Buffers are copied. The teacher starts as the student and teaches nothing new by
    itself: labels, or dropout and augmentation, have to. It is saved with the run and dropped in the end.

    Args:
        task: how the model is called.
        loss: on the two answers, usually with labels, such as `SoftLabels(hard_weight=0.5)`.
        decay: how much of the mean stays in one step, in [0, 1).

    Raises:
        UsageError: the decay is outside its domain.

    Reference:
        Tarvainen, Valpola, 2017, arXiv:1703.01780, equation 2.
    """
    if not 0 <= decay < 1:
        raise invalid("mean_teacher.decay", decay, "a share in [0, 1)", "Usual values are 0.99 to 0.9999.")

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        teacher = cast(Mean, moment.parts).model
        with torch.no_grad():
            answer = task.forward(teacher, batch)
        student = task.forward(model, batch)
        return loss.terms(lesson_of(task, batch, moment, student=student, teacher=answer))

    return Objective(
        name=f"mean teacher of decay {decay} with {describe(loss)}",
        terms=terms,
        parts=lambda model, batch: Mean(model),
        after=lambda model, moment: cast(Mean, moment.parts).follow(model, decay),
    )
