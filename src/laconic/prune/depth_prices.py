"""What it costs to leave a block out, measured: there are few enough to try each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional
from torch.utils import _pytree as pytree

from laconic.core.metric import IGNORED_LABEL, class_last
from laconic.core.task import Batch, Task
from laconic.graph import Graph
from laconic.graph.blocks import Block
from laconic.graph.example import fitting
from laconic.graph.shortening import shorten

TINY = 1e-30


class Prices:
    """Distances from the original's answers.

    With a task these are nats a prediction: `KL(original || changed)` of a classifier, half a squared error a value of
    a regression. With example inputs alone, the root mean square change of all outputs over their root mean square.

    Args:
        graph: the original.
        task: says where the logits are and what they mean; None: example inputs.
        batches: what is answered.
    """

    def __init__(self, graph: Graph, task: Task | None, batches: Sequence[Batch]) -> None:
        self._graph, self._task, self._batches = graph, task, fitting(graph, batches)
        self._answers = self._answered(shorten(graph, (), share=True))

    def of(self, removed: Sequence[Block]) -> float:
        """Returns how far the model without these blocks is from the original."""
        return self.of_model(shorten(self._graph, removed, share=True))

    def of_model(self, model: nn.Module) -> float:
        """Returns how far a model is from the original, both in eval mode."""
        pairs = zip(self._answers, self._answered(model), self._batches, strict=True)
        if self._task is None:
            return _relative(pairs_of=[(before, after) for before, after, _ in pairs])
        sums = [_nats(before, after, batch.labels, self._task.score.regression) for before, after, batch in pairs]
        return sum(nats for nats, _ in sums) / max(sum(count for _, count in sums), 1)

    def _answered(self, model: nn.Module | GraphModule) -> list[Tensor]:
        modes = {module: module.training for module in model.modules()}
        for module in modes:
            module.training = False
        try:
            with torch.no_grad():
                return [self._answer(model, batch) for batch in self._batches]
        finally:
            for module, training in modes.items():
                module.training = training

    def _answer(self, model: nn.Module, batch: Batch) -> Tensor:
        if self._task is not None:
            return self._task.forward(model, batch)
        output: Any = model(*batch.args, **batch.kwargs)
        tensors = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]
        return torch.cat([t.flatten() for t in tensors])


def batches_of(
    data: Task | tuple[tuple[Any, ...], Mapping[str, Any]], device: torch.device, samples: int
) -> list[Batch]:
    """Returns at most so many calibration samples of a task, or the example inputs as one batch."""
    if isinstance(data, Task):
        return list(data.batches("calibrate", device=device, limit=samples))
    return [Batch(args=data[0], kwargs=data[1])]


def _relative(pairs_of: Sequence[tuple[Tensor, Tensor]]) -> float:
    change = sum(float((after.double() - before.double()).square().sum()) for before, after in pairs_of)
    whole = sum(float(before.double().square().sum()) for before, _ in pairs_of)
    return float((change / max(whole, TINY)) ** 0.5)


def _nats(before: Tensor, after: Tensor, labels: Tensor | None, regression: bool) -> tuple[float, int]:
    """Returns the sum over predictions, and their number; positions whose label is -100 do not count."""
    if regression:
        return float(0.5 * (after.double() - before.double()).square().sum()), before.numel()
    if before.dim() == 1 or before.shape[-1] == 1 or (labels is not None and labels.shape == before.shape):
        before, after = (torch.stack([logits, torch.zeros_like(logits)], -1) for logits in (before, after))
    elif labels is not None and labels.dim() == before.dim() - 1:
        before, after = class_last(before, labels), class_last(after, labels)
    p, q = (functional.log_softmax(logits.double(), -1) for logits in (before, after))
    nats = functional.kl_div(q, p, reduction="none", log_target=True).nan_to_num(0.0).sum(-1)
    counted = torch.ones_like(nats) if labels is None or labels.shape != nats.shape else labels != IGNORED_LABEL
    return float((nats * counted).sum().clamp_min(0)), int(counted.sum())
