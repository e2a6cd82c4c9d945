"""A histogram that grows with its data and never loses a count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

from laconic.calibrate.moments import on_double_device

BINS = 2048
FINEST = -126  # Exponent of the smallest bin: the smallest normal float32.
PIECE = 2**17  # Values that are counted at a time: they stay in the processor's cache.
RESOLUTION = 22  # A bin is at least 2**-22 of the largest value: finer than that float32 cannot tell values apart.


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """Counts of values in 2,048 bins of equal width.

    The width is a power of two and bin edges are its multiples; it is the smallest that spans the data. So the bins
    depend on the data alone, not on the order in which they came, and widening a bin merges neighbours exactly.

    Args:
        counts: int64 `[2048]`.
        exponent: a bin is `2**exponent` wide.
        start: the first bin begins at `start * 2**exponent`.
        minimum: the smallest value, exact.
        maximum: the largest value, exact.

    Guarantees:
        `Histogram.of(a) + Histogram.of(b)` equals `Histogram.of(cat(a, b))` exactly.
        `counts` sum to the number of values.

    Example:
        >>> histogram = Histogram.of(torch.tensor([0.0, 1.0])) + Histogram.of(torch.tensor([-5.0]))
        >>> histogram.minimum, histogram.maximum, int(histogram.counts.sum())
        (-5.0, 1.0, 3)
    """

    counts: Tensor
    exponent: int
    start: int
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Tensor, extent: tuple[float, float] | None = None) -> Self:
        """Counts finite values; any shape but empty, any floating type. `extent`: smallest and largest, where known."""
        values = as_stored(values.detach())
        minimum, maximum = extent or tuple(float(v) for v in torch.aminmax(values))
        exponent, start = _bins(minimum, maximum)
        counts = torch.zeros(BINS, dtype=torch.int64)
        for piece in torch.split(values, PIECE):
            index = places(piece, 2.0**-exponent).sub_(start).int()
            counts += torch.bincount(index, minlength=BINS).cpu()
        return cls(counts=counts, exponent=exponent, start=start, minimum=minimum, maximum=maximum)

    def __add__(self, other: Histogram) -> Histogram:
        minimum, maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        exponent, start = _bins(minimum, maximum)
        counts = self._counts(exponent, start) + other._counts(exponent, start)
        return Histogram(counts=counts, exponent=exponent, start=start, minimum=minimum, maximum=maximum)

    def _counts(self, exponent: int, start: int) -> Tensor:
        """The counts in wider bins that span more."""
        held = self.counts.nonzero()[:, 0]
        index = ((self.start + held) >> (exponent - self.exponent)) - start
        return torch.zeros_like(self.counts).index_add_(0, index, self.counts[held])

    @property
    def width(self) -> float:
        """Of one bin."""
        return 2.0**self.exponent

    @property
    def low(self) -> float:
        """Where the first bin begins."""
        return self.start * self.width

    @property
    def high(self) -> float:
        """Where the last bin ends."""
        return (self.start + BINS) * self.width

    @property
    def centres(self) -> Tensor:
        """The middle of each bin, float64 `[2048]`."""
        return (self.start + 0.5 + torch.arange(BINS, dtype=torch.float64)) * self.width

    def config(self) -> dict[str, Any]:
        """Returns everything but the counts, as JSON values."""
        return {"exponent": self.exponent, "start": self.start, "minimum": self.minimum, "maximum": self.maximum}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], counts: Tensor) -> Self:
        """Undoes `config`."""
        return cls(counts=counts, **config)


def as_stored(values: Tensor) -> Tensor:
    """Returns all elements in one dimension, in the order in which they lie in memory."""
    return values.permute(sorted(range(values.dim()), key=values.stride, reverse=True)).flatten()


def places(values: Tensor, per_width: Tensor | float) -> Tensor:
    """Returns in which bin each value lies, counted from zero: `floor(values * per_width)`, exactly.

    Args:
        values: finite, any floating type.
        per_width: powers of two, one over the width of a bin; none so large that a place would be 2**22 or more.
    """
    smallest = float(per_width.min()) if isinstance(per_width, Tensor) else per_width
    # Products with a power of two are exact, unless they vanish: a tiny value below zero has to stay there.
    if values.dtype != torch.float64 and smallest >= 1:
        return values.float().mul(per_width.float() if isinstance(per_width, Tensor) else per_width).floor_()
    return on_double_device(values).double().mul(per_width).floor_()


def _bins(minimum: float, maximum: float) -> tuple[int, int]:
    """Exponent and start of the narrowest bins that span a range: both are functions of the range alone."""
    largest = max(abs(minimum), abs(maximum))
    exponent = max(FINEST, _exponent(largest) - RESOLUTION, _exponent((maximum - minimum) / BINS) - 1)
    while math.floor(maximum / 2.0**exponent) - math.floor(minimum / 2.0**exponent) >= BINS:
        exponent += 1
    return exponent, math.floor(minimum / 2.0**exponent)


def _exponent(value: float) -> int:
    """The largest `e` with `2**e <= value`, or `FINEST`."""
    return math.frexp(value)[1] - 1 if value > 0 else FINEST
