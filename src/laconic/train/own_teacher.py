"""A network whose last layers teach its first ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from laconic.core.errors import ModelError, invalid
from laconic.core.task import Batch, Task
from laconic.distill import DistillationLoss, Site, SoftLabels, label_loss, overhear
from laconic.distill.weighing import weighted
from laconic.train.describe import describe
from laconic.train.imitation import lesson_of
from laconic.train.objective import Moment, Objective, unwrapped


def own_teacher(task: Task, layers: Sequence[str], *, loss: DistillationLoss | None = None) -> Objective:
    """Returns the objective of self-distillation: exits after early layers learn from the answer of the whole network.

    `criterion(answer, labels) + mean over exits of loss(exit, answer)`. An exit is a linear layer on a layer's
    features, averaged over positions. Exits are trained along and dropped in the end: the network stays as it is, its
    early layers have learned to tell what it says.

    Args:
        task: how the model is called; it answers with one row of logits a sample.
        layers: paths of modules, as in `Match`, images `[samples, channels, ...]` or tokens `[samples, positions,
            channels]`.
        loss: of an exit on the answer; None: `SoftLabels(temperature=3, hard_weight=0.7)`.

    Raises:
        UsageError: there are no layers; when it is trained: a layer that is not called exactly once.
        ModelError: when it is trained: the answer is not one row a sample.

    Reference:
        Zhang, Song, Gao, Chen, Bao, Ma, 2019, arXiv:1905.08094 (be your own teacher), without its hint on features.
    """
    if len(layers) == 0:
        raise invalid("own_teacher.layers", list(layers), "the path of at least one layer")
    sites = [Site.parse(layer) for layer in layers]
    compared = loss or SoftLabels(temperature=3.0, hard_weight=0.7)

    def heard(model: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        answer, found = overhear(lambda: task.forward(model, batch), unwrapped(model), sites)
        return answer, [_pooled(features) for features in found]

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        with torch.no_grad():
            answer, found = heard(model, batch)
        if answer.dim() != 2:
            raise ModelError(
                f"own_teacher: the model answers in shape {list(answer.shape)}; expected [samples, classes]. Exits "
                "after early layers say one thing about a sample."
            )
        return nn.ModuleList(nn.Linear(features.shape[1], answer.shape[1]) for features in found)

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        answer, found = heard(model, batch)
        terms = {} if batch.labels is None else {"labels": label_loss(answer, batch.labels, task.criterion)}
        for layer, leave, features in zip(layers, cast(nn.ModuleList, moment.parts), found, strict=True):
            lesson = lesson_of(task, batch, moment, student=leave(features), teacher=answer)
            terms |= {
                f"{name} after {layer}": weighted(term, 1 / len(found)) for name, term in compared.terms(lesson).items()
            }
        return terms

    return Objective(name=f"own teacher after {list(layers)} with {describe(compared)}", terms=terms, parts=parts)


def _pooled(features: Tensor) -> Tensor:
    """Returns the mean over positions, `[samples, channels]`, in float32 or better."""
    exact = features.to(torch.promote_types(features.dtype, torch.float32))
    if exact.dim() == 3:
        return exact.mean(1)
    return exact.flatten(2).mean(2) if exact.dim() > 3 else exact
