"""Weights of teachers that are learned from data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from laconic.core.errors import DataError, invalid
from laconic.core.metric import IGNORED_LABEL, class_last
from laconic.core.task import Task
from laconic.distill.answering import answering
from laconic.distill.lesson import check_range

LEAST = 1e-6
"""No weight falls below this, so that every member stays one."""
ROUNDS = 1000


def fitted_weights(members: Sequence[nn.Module], task: Task, *, part: str = "train") -> tuple[float, ...]:
    """Returns the weights of an ensemble under which the labels of some data are likeliest.

    Maximises `sum_i log sum_k w_k p_k(y_i | x_i)` over weights that are positive and sum to 1 by expectation and
    maximisation: `w_k <- mean_i w_k p_ik / sum_j w_j p_ij`. The problem is concave: there is one best value. Use data
    that the members have not learned from, on which all of them are too sure.

    Args:
        members: classifiers that answer in the same shape; left as they are.
        task: how they are called.
        part: the data: `"train"`, `"calibrate"` or `"evaluate"`, with labels.

    Returns:
        For `Ensemble(members, weights=...)`; they sum to 1.

    Raises:
        UsageError: there are no members.
        DataError: a batch has no labels, or no label counts.

    Guarantees:
        The labels are at least as likely as under equal weights.

    Reference:
        Dempster, Laird, Rubin, 1977, Journal of the Royal Statistical Society B 39, for the weights of a mixture.
    """
    if len(members) == 0:
        raise invalid("fitted_weights.members", list(members), "at least one model")
    likely = torch.stack([_likelihoods(member, task, part) for member in members], dim=1)
    if len(likely) == 0:
        raise DataError(f"Task.{part}: no label counts; the weights of teachers are learned from labels.")
    likely = (likely - likely.amax(1, keepdim=True)).exp().double()
    weights = torch.full((len(members),), 1 / len(members), dtype=torch.float64)
    for _ in range(ROUNDS):
        shares = weights * likely
        moved = (shares / shares.sum(1, keepdim=True)).mean(0)
        done = torch.allclose(moved, weights, rtol=0, atol=1e-9)
        weights = moved
        if done:
            break
    weights = weights.clamp(min=LEAST)
    return tuple((weights / weights.sum()).tolist())


def _likelihoods(member: nn.Module, task: Task, part: str) -> Tensor:
    """Returns the logarithm of the probability of each label that counts, `[labels]`."""
    found = []
    with answering(member) as device:
        for batch in task.batches(part, device=device):
            if batch.labels is None:
                raise DataError(f"Task.{part}: a batch has no labels; the weights of teachers are learned from labels.")
            logits = task.forward(member, batch)
            check_range(logits, batch.labels)
            rows, labels = class_last(logits, batch.labels).flatten(0, -2).float(), batch.labels.flatten()
            counted = labels != IGNORED_LABEL
            logs = log_softmax(rows[counted], dim=-1)
            found.append(logs.gather(1, labels[counted].long()[:, None])[:, 0].cpu())
    return torch.cat(found)
