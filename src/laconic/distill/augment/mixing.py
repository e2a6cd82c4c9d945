"""What mixtures of samples have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.core.task import Batch


def check_alpha(where: str, alpha: float) -> None:
    """Raises a `UsageError` unless the parameter of the Beta distribution is positive."""
    if not 0 < alpha < float("inf"):
        raise invalid(f"{where}.alpha", alpha, "a positive number", "Usual values are 0.2 to 1.")


def share_of(alpha: float) -> float:
    """Draws from `Beta(alpha, alpha)`."""
    return float(torch.distributions.Beta(alpha, alpha).sample())


def order_of(batch: Batch) -> Tensor:
    """Draws which sample is mixed with which."""
    return torch.randperm(batch.size)


def mixed(batch: Batch, mix: Callable[[Tensor], Tensor]) -> Batch:
    """Returns the batch with every input of real numbers mixed, and without labels."""
    size = batch.size

    def changed(value: Any) -> Any:
        fits = isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0 and len(value) == size
        return mix(value) if fits else value

    kwargs = {name: changed(value) for name, value in batch.kwargs.items()}
    return Batch(args=tuple(map(changed, batch.args)), kwargs=kwargs, labels=None)
