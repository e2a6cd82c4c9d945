"""What turns gradients into steps. Any callable `model -> torch.optim.Optimizer` will do; these two name the usual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from laconic.core.errors import invalid

OptimizerFactory = Callable[[nn.Module], torch.optim.Optimizer]


@final
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay.

    Args:
        learning_rate: peak step size; the schedule multiplies it.
        weight_decay: decay of matrices and kernels; biases and normalisation (one dimension or none) do not decay.
        betas: decay of the two running moments.

    Reference:
        Loshchilov, Hutter, 2019, arXiv:1711.05101.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        _check("AdamW", self.learning_rate, self.weight_decay)

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """Returns the optimizer of a model's trainable parameters."""
        groups, decay = _groups(model, self.weight_decay), self.weight_decay
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas, weight_decay=decay)


@final
@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum.

    Args:
        learning_rate: peak step size; the schedule multiplies it.
        weight_decay: decay of matrices and kernels; biases and normalisation (one dimension or none) do not decay.
        momentum: share of the last step that is kept.
        nesterov: look ahead along the momentum.
    """

    learning_rate: float = 0.1
    weight_decay: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check("SGD", self.learning_rate, self.weight_decay)

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        """Returns the optimizer of a model's trainable parameters."""
        groups = _groups(model, self.weight_decay)
        return torch.optim.SGD(
            groups,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


def join(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Adds further parameters with the optimizer's own settings; those of one dimension or none do not decay."""
    known = list(parameters)
    if matrices := [p for p in known if p.dim() > 1]:
        optimizer.add_param_group({"params": matrices})
    if vectors := [p for p in known if p.dim() <= 1]:
        optimizer.add_param_group({"params": vectors, "weight_decay": 0.0})


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _check(where: str, learning_rate: float, weight_decay: float) -> None:
    if not 0 < learning_rate < float("inf"):
        raise invalid(f"{where}.learning_rate", learning_rate, "a positive number")
    if not 0 <= weight_decay < float("inf"):
        raise invalid(f"{where}.weight_decay", weight_decay, "0 or a positive number")
