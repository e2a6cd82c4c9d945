"""What a run tells after each step to those who listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

Pairing = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A step that was made.

    Args:
        model: in training; what is changed in it stays changed.
        step: how many were made.
        total: of the whole run.
        losses: the terms of the loss, weighted; the loss is their sum.
        unweighted: the same terms before they were weighted.
        learning_rate: of this step, the first group's.
        score: on the validation data, where this step was scored.
        pairing: layer of the student -> layer of the teacher -> how much it is learned from, where that is learned.
    """

    model: nn.Module
    step: int
    total: int
    losses: Mapping[str, float]
    unweighted: Mapping[str, float]
    learning_rate: float
    score: float | None = None
    pairing: Pairing = field(default_factory=dict)


Callback = Callable[[Step], bool | None]
"""Called after every step, in every process; True ends the run after this step, and has to be said in all of them."""
