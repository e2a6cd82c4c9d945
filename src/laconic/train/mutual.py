"""Peers that learn from each other, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss, Lesson
from laconic.distill.weighing import summed
from laconic.train.describe import describe
from laconic.train.imitation import lesson_of
from laconic.train.objective import Moment, Objective


def mutual(peers: Sequence[nn.Module], task: Task, loss: DistillationLoss) -> Objective:
    """Returns the objective of a model and its peers, each of which learns from the answers of all the others.

    The loss of each is the mean over the others as its teachers; the loss of the run is the sum over all. The peers are
    trained in place along with the model that `train` is given.

    Args:
        peers: one or more models of any architecture that answer in the same shape.
        task: how they are called.
        loss: on the answers of two, usually with labels, such as `SoftLabels(temperature=1, hard_weight=0.5)`.

    Raises:
        UsageError: there are no peers.

    Reference:
        Zhang, Xiang, Hospedales, Lu, 2018, arXiv:1706.00384; here all are updated in one step.
    """
    if len(peers) == 0:
        raise invalid("mutual.peers", list(peers), "at least one model")

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        return nn.ModuleList(peers).train()

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        everyone = [model, *cast(nn.ModuleList, moment.parts)]
        answers = [task.forward(one, batch) for one in everyone]
        found: dict[str, Tensor] = {}
        for index, own in enumerate(answers):
            others = [answer for answer in answers if answer is not own]
            lessons = [lesson_of(task, batch, moment, student=own, teacher=other) for other in others]
            suffix = f" of peer {index}" if index else ""
            found |= {f"{name}{suffix}": term for name, term in _mean(loss, lessons).items()}
        return found

    return Objective(
        name=f"mutual learning of {len(peers)} peers with {describe(loss)}",
        terms=terms,
        teachers=tuple(peers),
        parts=parts,
    )


def _mean(loss: DistillationLoss, lessons: Sequence[Lesson]) -> dict[str, Tensor]:
    terms = [loss.terms(lesson) for lesson in lessons]
    return {name: summed([t[name] for t in terms], len(terms)) for name in terms[0]}
