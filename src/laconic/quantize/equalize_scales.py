"""How values are scaled so that what is rounded afterwards is rounded with less error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import check_whole, invalid


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranges:
    """What one place's scales are chosen from; float64 `[channels]` each, relative to the largest of its tensor.

    Args:
        made: largest magnitude of the weights that make a channel; of a normalisation `3 |gain| + |shift|`.
        read: largest magnitude of the weights that read it; None where a batch normalisation reads it.
        seen: largest magnitude of the channel's values on the calibration data; None where that was not asked for.
    """

    made: Tensor
    read: Tensor | None
    seen: Tensor | None


@final
@dataclass(frozen=True, kw_only=True)
class CrossLayer:
    """`s = sqrt(read / made)`: a channel's weights reach equally far on both sides. Needs no data.

    Whatever a batch normalisation reads is scaled to one range outright: it takes any scale out again.

    Args:
        rounds: how often all places are visited, at least 1: neighbouring places depend on one another.
        limit: no channel is scaled by more than this, at least 1.

    Reference:
        Nagel, van Baalen, Blankevoort, Welling 2019, arXiv:1906.04721, eq. 11 (1/s there).
    """

    rounds: int = 20
    limit: float = 1e4

    def __post_init__(self) -> None:
        check_whole("quantize.CrossLayer.rounds", self.rounds, 1)
        if not 1 <= self.limit < float("inf"):
            raise invalid("quantize.CrossLayer.limit", self.limit, "a number of at least 1")

    @property
    def reads_data(self) -> bool:
        """Whether `Ranges.seen` is needed."""
        return False

    def scales(self, ranges: Ranges) -> Tensor:
        """Returns what each channel is multiplied by, float64 `[channels]`, positive; 1 where a side is all zero."""
        read = ranges.read
        return sound(1 / ranges.made if read is None else (read / ranges.made).sqrt(), self.limit)


@final
@dataclass(frozen=True, kw_only=True)
class Smooth:
    """`s = read^(1 - alpha) / seen^alpha`: outliers of activations move into the weights that read them.

    Args:
        alpha: how much of the way, in `[0, 1]`: at 0 the weights are levelled, at 1 the activations.
        limit: no channel is scaled by more than this, at least 1.

    Reference:
        Xiao, Lin, Seznec, Wu, Demouth, Han 2022, arXiv:2211.10438, eq. 4 (1/s there).
    """

    alpha: float = 0.5
    limit: float = 1e4

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise invalid("quantize.Smooth.alpha", self.alpha, "a number in [0, 1]", "0.5 suits most models.")
        if not 1 <= self.limit < float("inf"):
            raise invalid("quantize.Smooth.limit", self.limit, "a number of at least 1")

    @property
    def rounds(self) -> int:
        """Every place is visited once."""
        return 1

    @property
    def reads_data(self) -> bool:
        """Whether `Ranges.seen` is needed."""
        return True

    def scales(self, ranges: Ranges) -> Tensor:
        """Returns what each channel is multiplied by, float64 `[channels]`, positive; 1 where a side is all zero."""
        if ranges.read is None or ranges.seen is None:
            return torch.ones_like(ranges.made)
        return sound(ranges.read ** (1 - self.alpha) / ranges.seen**self.alpha, self.limit)


def sound(scales: Tensor, limit: float) -> Tensor:
    """Returns scales with a geometric mean of one, within the limit, and 1 where there is nothing to go by.

    Example:
        >>> sound(torch.tensor([0.5, 2.0, 0.0, torch.inf]), 1.5)
        tensor([0.6667, 1.5000, 1.0000, 1.0000])
    """
    known = scales.isfinite() & (scales > 0)
    logs = torch.where(known, scales, 1).log()
    mean = logs.sum() / known.sum().clamp(min=1)
    return torch.where(known, (logs - mean).exp(), 1).clamp(1 / limit, limit)
