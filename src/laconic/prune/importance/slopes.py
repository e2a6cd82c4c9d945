"""How the loss changes with all that belongs to an index, to first order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from laconic.calibrate.predictions import pull
from laconic.calibrate.untouched import untouched
from laconic.core.task import Batch, Task
from laconic.graph.axes import Axes
from laconic.prune.importance.slices import per_index, weights_of


def slopes(model: nn.Module, axes: Axes, task: Task, *, samples: int, seed: int = 0) -> dict[str, Tensor]:
    """Returns, by name of the axis, the sum of `w dL/dw` over all weights of each index, float64 `[batches, size]`.

    `L` is the mean loss of a batch: the task's on its labels; without labels `-log p` of answers drawn from the model's
    own distribution.

    Args:
        model: what `axes` analyses; left as it was.
        axes: its analysis.
        task: its `calibrate` data is read.
        samples: at most so many are read.
        seed: of the drawn answers.
    """
    named = {name: tensor for name, tensor in axes.graph.tensors.items() if tensor.is_floating_point()}
    weights = {name: tensor for name, tensor in named.items() if isinstance(tensor, nn.Parameter)}
    found: dict[str, list[Tensor]] = {axis.name: [] for axis in axes}
    with untouched(model, gradients=True, seed=seed):
        for gradients in _gradients(model, weights, task, samples, seed):
            for axis in axes:
                total = torch.zeros(axis.size, dtype=torch.float64)
                for part in weights_of(axis, axes.graph.tensors):
                    if part.tensor in gradients:
                        total += per_index(axis, weights[part.tensor].detach() * gradients[part.tensor], part)
                found[axis.name].append(total)
    return {name: torch.stack(rows) for name, rows in found.items()}


def _gradients(
    model: nn.Module, weights: dict[str, nn.Parameter], task: Task, samples: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Yields the gradient of each batch's mean loss, by name; weights that it does not depend on are missing."""
    device = next(iter(weights.values())).device
    generator = torch.Generator(device).manual_seed(seed)
    for weight in weights.values():
        weight.requires_grad_()
    for batch in task.batches("calibrate", device=device, limit=samples):
        outputs, error = _pulled(task, task.forward(model, batch), batch, generator)
        found = torch.autograd.grad(outputs, list(weights.values()), error, allow_unused=True)
        yield {name: gradient for name, gradient in zip(weights, found, strict=True) if gradient is not None}


def _pulled(task: Task, logits: Tensor, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Returns what to differentiate, and the gradient to begin with."""
    if batch.labels is not None:
        return task.criterion(logits, batch.labels), None
    drawn = pull(logits, None, generator, regression=task.score.regression)
    return logits, drawn.error / max(1, drawn.predictions)
