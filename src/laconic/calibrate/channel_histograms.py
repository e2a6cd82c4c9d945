"""One histogram a channel, coarser than that of a whole tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

from laconic.calibrate.histogram import FINEST, places

BINS = 256


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelHistograms:
    """Counts of each channel's values in 256 bins of equal width, half of them below zero.

    A channel's width is the smallest power of two that spans its values, so it depends on the data alone, and widening
    a bin merges neighbours exactly.

    Args:
        counts: int64 `[channels, 256]`.
        exponent: a bin is `2**exponent` wide, int64 `[channels]`.
        minimum: the smallest value, exact, float32 `[channels]`; infinite where there was none.
        maximum: the largest value, likewise.

    Guarantees:
        `ChannelHistograms.of(a, dim) + ChannelHistograms.of(b, dim)` equals that of both, exactly.

    Example:
        >>> found = ChannelHistograms.of(torch.tensor([[0.5, 100.0], [-1.0, 3.0]]), -1)
        >>> found.minimum.tolist(), found.maximum.tolist(), found.counts.sum(1).tolist()
        ([-1.0, 3.0], [0.5, 100.0], [2, 2])
    """

    counts: Tensor
    exponent: Tensor
    minimum: Tensor
    maximum: Tensor

    @classmethod
    def of(cls, values: Tensor, dim: int) -> Self:
        """Counts values above minus infinity, which marks the impossible; dimension `dim` counts the channels."""
        rows = values.detach().movedim(dim, 0).flatten(1).float().cpu()
        low, high = rows.amin(1), rows.amax(1)
        if bool((low == -torch.inf).any()):
            low = rows.masked_fill(rows == -torch.inf, torch.inf).amin(1)
        exponent = _exponent(torch.maximum(low.abs().nan_to_num(posinf=0), high.abs().nan_to_num(posinf=0)))
        # What is left out falls into a bin before the others, which is taken away.
        index = places(rows, 1 / _width(exponent)).add_(BINS // 2).clamp_(min=-1).int()
        index += (BINS + 1) * torch.arange(len(rows), dtype=torch.int32)[:, None] + 1
        counts = torch.bincount(index.flatten(), minlength=(BINS + 1) * len(rows)).view(len(rows), BINS + 1)[:, 1:]
        return cls(counts=counts, exponent=exponent, minimum=low, maximum=high)

    def __add__(self, other: ChannelHistograms) -> ChannelHistograms:
        exponent = torch.maximum(self.exponent, other.exponent)
        return ChannelHistograms(
            counts=self._counts(exponent) + other._counts(exponent),
            exponent=exponent,
            minimum=torch.minimum(self.minimum, other.minimum),
            maximum=torch.maximum(self.maximum, other.maximum),
        )

    def _counts(self, exponent: Tensor) -> Tensor:
        """The counts in bins as wide or wider."""
        wider = (exponent - self.exponent).clamp(max=8)[:, None]
        place = ((torch.arange(BINS) - BINS // 2)[None] >> wider) + BINS // 2
        return torch.zeros_like(self.counts).scatter_add_(1, place, self.counts)

    @property
    def centres(self) -> Tensor:
        """The middle of each bin, inside what was seen: float32 `[channels, 256]`."""
        middles = ((torch.arange(BINS) - (BINS - 1) / 2) * _width(self.exponent)).float()
        return torch.maximum(torch.minimum(middles, self.maximum[:, None]), self.minimum[:, None])


def _exponent(largest: Tensor) -> Tensor:
    """The least one, above the smallest normal number's, at which 128 bins reach beyond a value."""
    return (torch.frexp(largest).exponent.long() - 7).clamp(min=FINEST)


def _width(exponent: Tensor) -> Tensor:
    return torch.ldexp(torch.ones(len(exponent), dtype=torch.float64), exponent)[:, None]
