"""How long a survey will take and how much memory, known before it starts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Self

from torch import nn

from laconic.calibrate import Layer, layers
from laconic.calibrate.moments import FULL
from laconic.core.errors import ModelError
from laconic.graph import Costs
from laconic.measure import module_bytes
from laconic.pipeline.bases import MEASURED_OFFERS
from laconic.pipeline.reading import Reading
from laconic.report.wording import byte_size, short_count

A_SECOND = 6e10
"""Floating-point operations that one core of a usual machine does in a second, in products of matrices."""
A_WEIGHT, AN_INPUT = 6e-6, 1.5e-9
"""Seconds of pricing one weight, and more for each input of its layer."""
WHOLE_PLANS = 4
"""Plans that are measured as a whole before anything is cut."""
FITS = 3
"""How often a cut model is fitted on all samples, or on as many together, with the original beside it."""
MOMENT, COPIES, OFFERED = 8, 3, 6
"""Bytes of an entry of a second moment, copies of the model at the least, and bytes of all offers for one weight."""
PROCESS, ALIVE = 5 * 10**8, 3
"""Bytes of a process that has loaded PyTorch and the runtime, and how many times a fit after a cut holds what is alive
at once of all samples' activations: of the original, of the smaller model, and of what is fitted."""
LONG = 60.0
"""Seconds below which nobody needs to be told."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What observing and pricing a model takes.

    Args:
        layers: with weights.
        weights: of these layers.
        seconds: of observing and pricing the model as it is, on one core; within a factor of about two.
        cut_seconds: of making the model smaller and doing the same with what remains, once, at the most.
        memory_bytes: held at once; at the least, until passes are counted.
    """

    layers: int
    weights: int
    seconds: float
    memory_bytes: int
    cut_seconds: float = 0.0

    @classmethod
    def of(cls, model: nn.Module, *, prices: bool) -> Self:
        """Reads a model's layers; `prices` says whether each will be priced. No pass over data is counted yet."""
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

    def with_passes(self, model: nn.Module, costs: Costs, reading: Reading) -> Self:
        """Adds what passes over the data take, of time and of memory; nothing where no layer is priced."""
        if not self.seconds:
            return self
        a_sample = 2 * costs.macs / A_SECOND
        moments = sum(_moment_operations(layer, costs) for layer in layers(model)) / A_SECOND * reading.calibration
        observed = 2 * a_sample * reading.calibration + moments
        measured = a_sample * (MEASURED_OFFERS * reading.offers + WHOLE_PLANS * reading.held_back)
        first = observed + self.seconds + measured
        fitted = FITS * (2 * a_sample * reading.calibration + moments)
        held = self.memory_bytes + PROCESS + ALIVE * costs.activation_peak_bytes * reading.calibration
        return replace(self, seconds=first, cut_seconds=first + fitted, memory_bytes=held)

    def __str__(self) -> str:
        first, cut = (f"{max(seconds / 60, 1):.0f} minutes" for seconds in (self.seconds, self.cut_seconds))
        return (
            f"pricing {self.layers} layers with {short_count(self.weights)} weights takes about {first}, and up to "
            f"{cut} more for each smaller network that comes into question; about {byte_size(self.memory_bytes)} "
            "of memory"
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


def _moment_operations(layer: Layer, costs: Costs) -> float:
    """Returns the operations of one sample's second moments, half of which are mirrored."""
    _, rows, columns = layer.matrix_shape
    if layer.kind == "embedding":
        return 0.0
    positions = costs.macs_by_parameter.get(layer.parameter, 0) / math.prod(layer.shape)
    return positions * (_moment(rows) + _moment(columns))


def _moment(size: int) -> int:
    """Returns the entries of a second moment, of which only the diagonal is held where it would be too large."""
    return size if size > FULL else size**2
