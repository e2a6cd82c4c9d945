"""How long a survey will take and how much memory, known before it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from torch import nn

from laconic.calibrate import layers
from laconic.calibrate.moments import FULL
from laconic.core.errors import ModelError
from laconic.measure import module_bytes
from laconic.report.wording import byte_size, short_count

A_WEIGHT, AN_INPUT = 5e-6, 5e-9
"""Seconds of pricing one weight and of measuring offers with it, and more for each input of its layer; on one core."""
MOMENT, COPIES, OFFERED = 8, 3, 6
"""Bytes of an entry of a second moment, copies of the model at the least, and bytes of all offers for one weight."""
LONG = 60.0
"""Seconds below which nobody needs to be told."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What observing and pricing a model takes.

    Args:
        layers: with weights.
        weights: of these layers.
        seconds: of pricing them once, on one core of a usual machine; within a factor of about two.
        memory_bytes: held at once, at the least.
    """

    layers: int
    weights: int
    seconds: float
    memory_bytes: int

    @classmethod
    def of(cls, model: nn.Module, *, prices: bool) -> Self:
        """Reads a model's layers; `prices` says whether each will be priced."""
        weights, seconds, entries = 0, 0.0, 0
        found = layers(model)
        for layer in found:
            groups, rows, columns = layer.matrix_shape
            table = layer.kind == "embedding"
            size = groups * rows * columns
            weights += size
            seconds += size * (A_WEIGHT + (0 if table else AN_INPUT * columns))
            entries += groups * ((columns if table else _moment(columns)) + (_moment(rows) if prices else 0))
        held = MOMENT * entries + COPIES * module_bytes(model) + (OFFERED * weights if prices else 0)
        return cls(layers=len(found), weights=weights, seconds=seconds if prices else 0.0, memory_bytes=held)

    def __str__(self) -> str:
        return (
            f"pricing {self.layers} layers with {short_count(self.weights)} weights takes about {self.seconds / 60:.0f}"
            f" minutes for each number of channels, and at least {byte_size(self.memory_bytes)} of memory"
        )

    @property
    def long(self) -> bool:
        """Whether it is worth a word before it starts."""
        return self.seconds > LONG

    def check_memory(self, available: int | None = None) -> None:
        """Refuses what this machine cannot hold.

        Raises:
            ModelError: the least that is needed is more than there is.
        """
        there = available or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if self.memory_bytes > there:
            raise ModelError(
                f"compress: this model needs at least {byte_size(self.memory_bytes)} of memory to be observed; this "
                f"machine has {byte_size(there)}. Use a larger one, or laconic.stream, which works block by block."
            )


def _moment(size: int) -> int:
    """Returns the entries of a second moment, of which only the diagonal is held where it would be too large."""
    return size if size > FULL else size**2
