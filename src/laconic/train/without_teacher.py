"""Learning by losses that make up a teacher, or are their own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss
from laconic.train.describe import describe
from laconic.train.imitation import lesson_of
from laconic.train.objective import Moment, Objective


def without_teacher(task: Task, loss: DistillationLoss) -> Objective:
    """Returns the objective of a loss on answers for which no network is asked.

    The lesson's teacher is the student's own answer, without gradients: for `VirtualTeacher`, `ClassConsistency`,
    `Labels` and losses of one's own.

    Args:
        task: how the model is called.
        loss: on its answers.

    Reference:
        Yuan, Tay, Li, Wang, Feng, 2020, arXiv:1909.11723.
    """

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        answer = task.forward(model, batch)
        return loss.terms(lesson_of(task, batch, moment, student=answer, teacher=answer))

    return Objective(terms=terms, name=f"without a teacher, {describe(loss)}")
