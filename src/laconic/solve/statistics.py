"""Means and variances of channels, and what makes up for a change of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Moments:
    """Mean and variance of channels, float64 `[channels]`, over all values that were added."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    @classmethod
    def of(cls, batches: Iterable[Tensor], axis: int) -> Self:
        """Returns those of all values; `axis` counts the channels."""
        moments = cls()
        for values in batches:
            moments.add(values, axis)
        return moments

    def add(self, values: Tensor, axis: int) -> None:
        """Adds values; `axis` counts the channels."""
        rows = values.detach().movedim(axis, 0).flatten(1).cpu().double()
        self.count += rows.shape[1]
        self.total = self.total + rows.sum(1)
        self.squares = self.squares + rows.square().sum(1)

    @property
    def mean(self) -> Tensor:
        """Of each channel."""
        return self.total / self.count

    @property
    def variance(self) -> Tensor:
        """Of each channel."""
        return (self.squares / self.count - self.mean.square()).clamp_min(0)


def absorbing(norm: _BatchNorm, before: Moments, after: Moments) -> dict[str, Tensor]:
    """Returns the running statistics with which a normalisation answers to changed inputs as it did to the old ones.

    It is as if each changed channel were first brought to the mean and variance that the original one has on the same
    data, and then normalised as ever. So of the data's own statistics only their change counts.

    Args:
        norm: with its old running statistics.
        before: of its inputs.
        after: of its changed inputs.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
    stretch = (after.variance + norm.eps) / (before.variance + norm.eps)
    moved = (after.mean - before.mean) + (before.mean - mean) * (1 - stretch.sqrt())
    wider = (variance + norm.eps) * (stretch - 1)
    return {"running_mean": mean + moved, "running_var": (variance + wider).clamp_min(0)}
