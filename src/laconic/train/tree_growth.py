"""The objective of a soft decision tree: its leaves, each by itself, and the balance of its paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from laconic.core.errors import DataError, ModelError, invalid
from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Batch, Task
from laconic.distill import Pair, PathBalance, Site, SoftTree, overhear
from laconic.distill.domain import check_share, check_temperature, check_weight
from laconic.distill.weighing import weighted
from laconic.train.objective import Moment, Objective, unwrapped

SITES = (Site.parse("gates"), Site.parse("leaves:input"))
TreeLoss = Literal["leaves", "mixture"]


def tree_growth(
    task: Task,
    *,
    teacher: nn.Module | None = None,
    loss: TreeLoss = "mixture",
    temperature: float = 1.0,
    hard_weight: float = 0.0,
    balance: float = 0.1,
    decay: float = 0.9,
) -> Objective:
    """Returns the objective of growing a `SoftTree` on labels or on the answers of a teacher.

    With targets `t` (labels, or `softmax(teacher / temperature)`), path probabilities `P` and leaf distributions `Q`,
    the term `mixture` is the mean of `-sum_k t_k log sum_l P_l Q_lk`, and the term `leaves`, the paper's, that of
    `-sum_l P_l sum_k t_k log Q_lk`: each leaf is to be right by itself, and none corrects another. The term `balance`
    is `PathBalance`.

    Args:
        task: how tree and teacher are called; without a teacher its batches need labels.
        teacher: left as it is. None: labels alone.
        loss: `"leaves"` or `"mixture"`.
        temperature: of the teacher's answer, positive; the tree's own stays 1.
        hard_weight: share of the labels in the targets, in [0, 1], where there is a teacher.
        balance: weight of the penalty, 0 or more.
        decay: of `PathBalance`, in [0, 1).

    Raises:
        UsageError: an argument outside its domain.

    Reference:
        Frosst, Hinton, 2017, arXiv:1711.09784, sections 3 and 3.1; without the outer logarithm of its equation 3.
    """
    if loss not in get_args(TreeLoss):
        raise invalid("tree_growth.loss", loss, "'leaves' or 'mixture'")
    check_temperature("tree_growth", temperature)
    check_share("tree_growth", hard_weight)
    check_weight("tree_growth.balance", balance)
    penalty = PathBalance(decay=decay)

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        with torch.no_grad():
            _, (gates, _) = overhear(lambda: task.forward(model, batch), inside(model), SITES)
        return penalty.module(Pair(student=gates, teacher=gates))

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        tree = inside(model)
        answer, (gates, paths) = overhear(lambda: task.forward(model, batch), tree, SITES)
        given = answer if loss == "mixture" else paths.exp() @ tree.leaves.log_distributions()
        wanted = _targets(task, batch, teacher, answer, temperature, hard_weight)
        found: dict[str, Tensor] = {loss: _counted_mean(-(wanted * given).sum(-1), batch.labels)}
        if balance and moment.parts is not None:
            found["balance"] = weighted(moment.parts(Pair(student=gates, teacher=gates)), balance)
        return found

    said = f"{loss=}, {temperature=}, {hard_weight=}, {balance=}, {decay=}, taught={teacher is not None}"
    teachers = () if teacher is None else (teacher,)
    return Objective(terms=terms, name=f"tree growth with {said}", teachers=teachers, parts=parts)


def inside(model: nn.Module) -> SoftTree:
    """Returns the tree of a run, which several processes wrap.

    Raises:
        ModelError: the model is no `SoftTree`.
    """
    found = unwrapped(model)
    if not isinstance(found, SoftTree):
        raise ModelError(f"tree_growth: got {type(found).__name__}; expected a SoftTree. Others learn by distillation.")
    return found


def _targets(
    task: Task, batch: Batch, teacher: nn.Module | None, answer: Tensor, temperature: float, hard_weight: float
) -> Tensor:
    """Returns the wanted probabilities, `[samples, classes]`."""
    if teacher is None:
        return _hard(batch.labels, answer.shape[1])
    with torch.no_grad():
        soft = (task.forward(teacher, batch).float() / temperature).softmax(-1)
    if soft.shape != answer.shape:
        raise ModelError(
            f"tree_growth: the tree answers in shape {list(answer.shape)}, the teacher in {list(soft.shape)}; expected "
            "the same. Give both the same number of classes."
        )
    if batch.labels is None or hard_weight == 0:
        return soft
    return soft.lerp(_hard(batch.labels, answer.shape[1]), hard_weight)


def _counted_mean(nats: Tensor, labels: Tensor | None) -> Tensor:
    """Returns the mean over the samples that count; 0 where there are none."""
    if labels is None:
        return nats.mean()
    counts = labels != IGNORED_LABEL
    return nats.where(counts, 0).sum() / counts.sum().clamp(min=1)


def _hard(labels: Tensor | None, classes: int) -> Tensor:
    if labels is None:
        raise DataError("Task.train: a batch has no labels, and a tree without a teacher needs them. Pass a teacher.")
    kept = labels.where(labels != IGNORED_LABEL, 0).long()
    if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < classes:
        raise DataError(
            f"Task.train: labels from {int(kept.min())} to {int(kept.max())}, but the tree has {classes} classes; "
            f"expected 0 to {classes - 1}. Renumber the labels or build the tree with more classes."
        )
    return one_hot(kept, classes).float()
