"""A temperature for each sample: what all of them have in common."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.answers import Answers

LEAST = 0.1
"""No temperature falls below this fraction of the one it is made from."""


class SampleTemperature(Protocol):
    """One way to soften samples differently."""

    def __call__(self, rows: Answers, temperature: float) -> Tensor:
        """Returns a temperature for each row, positive, `[rows]`; no gradient flows through it."""


def cooled(rows: Answers, difficulty: Tensor, temperature: float, beta: float) -> Tensor:
    """Returns `temperature + beta * (mean(difficulty) - difficulty)`, the mean over the rows that count."""
    with torch.no_grad():
        found = temperature + beta * (rows.mean(difficulty) - difficulty)
        return found.clamp(min=LEAST * temperature)


def check_beta(where: str, beta: float) -> None:
    """Raises a `UsageError` unless the strength is 0 or positive and finite."""
    if not 0 <= beta < float("inf"):
        raise invalid(f"{where}.beta", beta, "0 or a positive number")
