"""How far a grid reaches: the choice between clipping and coarse steps.

Every choice sees samples as `values [count, length]` - the elements of each block of a weight, or the bins of a
histogram of activations - with the `mass` each stands for, and returns one grid a block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from laconic.core.errors import check_whole, invalid

# (values rounded to a grid) - values, both [count, length] -> error of each block [count]
Error = Callable[[Tensor], Tensor]


class Steps(NamedTuple):
    """Where a block's grid lies: `scale [count]`, and `zero_point [count]` or None for a symmetric grid."""

    scale: Tensor
    zero_point: Tensor | None

    def round(self, values: Tensor, bits: int) -> Tensor:
        """Returns the nearest grid values, `[count, length]`."""
        scale = self.scale[:, None]
        lowest = -(2 ** (bits - 1)) if self.zero_point is None else 0
        zero = 0 if self.zero_point is None else self.zero_point[:, None]
        codes = (values / scale).add_(zero).round_().clamp_(lowest, lowest + 2**bits - 1)
        return codes.sub_(zero).mul_(scale)

    def where(self, chosen: Tensor, other: Steps) -> Steps:
        """Returns these steps where `chosen [count]` is true, the other ones elsewhere."""
        scale = torch.where(chosen, self.scale, other.scale)
        if self.zero_point is None or other.zero_point is None:
            return Steps(scale, None)
        return Steps(scale, torch.where(chosen, self.zero_point, other.zero_point))


class Range(ABC):
    """Chooses the grid of every block. Configs are frozen and final."""

    @abstractmethod
    def choose(self, values: Tensor, mass: Tensor, error: Error, *, bits: int, symmetric: bool) -> Steps:
        """Returns one grid for every block.

        Args:
            values: float `[count, length]`.
            mass: how many samples each value stands for, `[count, length]`; zero: it is not there.
            error: what a rounding costs; used by the choices that search.
            bits: 2 to 8.
            symmetric: signed codes around zero, or unsigned codes with a zero point.
        """


@final
@dataclass(frozen=True, kw_only=True)
class MinMax(Range):
    """From the smallest to the largest value: nothing is clipped."""

    def choose(self, values: Tensor, mass: Tensor, error: Error, *, bits: int, symmetric: bool) -> Steps:
        """Returns grids that reach every value."""
        return spanning(*_extent(values, mass), bits=bits, symmetric=symmetric)


@final
@dataclass(frozen=True, kw_only=True)
class Percentile(Range):
    """Leaves out the same share of samples on both sides.

    Args:
        percent: share of the samples inside the range, in (0, 100].
    """

    percent: float = 99.9

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise invalid("quantize.Percentile.percent", self.percent, "a number in (0, 100]")

    def choose(self, values: Tensor, mass: Tensor, error: Error, *, bits: int, symmetric: bool) -> Steps:
        """Returns grids that reach the given share of the samples."""
        ordered, order = values.sort(dim=1)
        below = mass.gather(1, order).double().cumsum(1)
        tail = (1 - self.percent / 100) / 2 * below[:, -1:]
        first = (below > tail).int().argmax(1, keepdim=True)
        last = (below >= below[:, -1:] - tail).int().argmax(1, keepdim=True)
        low, high = ordered.gather(1, first)[:, 0], ordered.gather(1, last)[:, 0]
        return spanning(low, high, bits=bits, symmetric=symmetric)


@final
@dataclass(frozen=True, kw_only=True)
class LeastError(Range):
    """The range with the least rounding error, searched among shrunken copies of the full one.

    The error is the squared one, or for weights the squared change of the layer's output when the technique weighs it
    by the second moment of the layer's inputs.

    Args:
        candidates: ranges tried, evenly spaced.
        narrowest: the smallest of them, as a share of the full range.
    """

    candidates: int = 40
    narrowest: float = 0.3

    def __post_init__(self) -> None:
        check_whole("quantize.LeastError.candidates", self.candidates, 1)
        if not 0 < self.narrowest <= 1:
            raise invalid("quantize.LeastError.narrowest", self.narrowest, "a fraction in (0, 1]")

    def choose(self, values: Tensor, mass: Tensor, error: Error, *, bits: int, symmetric: bool) -> Steps:
        """Returns the grid with the least error for each block."""
        low, high = _extent(values, mass)
        best = spanning(low, high, bits=bits, symmetric=symmetric)
        least = error(best.round(values, bits) - values)
        for share in torch.linspace(self.narrowest, 1, self.candidates).tolist():
            for flipped in (False, True) if symmetric else (False,):
                steps = spanning(low * share, high * share, bits=bits, symmetric=symmetric, flipped=flipped)
                cost = error(steps.round(values, bits) - values)
                better = cost < least
                least = torch.where(better, cost, least)
                best = steps.where(better, best)
        return best


ALL: tuple[type[Range], ...] = (MinMax, Percentile, LeastError)


def spanning(low: Tensor, high: Tensor, *, bits: int, symmetric: bool, flipped: bool | None = None) -> Steps:
    """Returns the finest grid that reaches from `low` to `high` and holds zero exactly.

    Args:
        low: `[count]`.
        high: `[count]`.
        bits: 2 to 8.
        symmetric: signed codes from `-2**(bits - 1)` to `2**(bits - 1) - 1`; a negative scale turns the one extra level
            to the positive side.
        flipped: whether to turn it; None: whichever is finer.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    if not symmetric:
        scale = _positive((high - low) / (2**bits - 1))
        return Steps(scale, (-low / scale).round().clamp(0, 2**bits - 1))
    most, least = 2 ** (bits - 1) - 1, 2 ** (bits - 1)
    upright = _positive(torch.maximum(high / most, -low / least))
    turned = _positive(torch.maximum(-low / most, high / least))
    if flipped is None:
        return Steps(torch.where(upright <= turned, upright, -turned), None)
    return Steps(-turned if flipped else upright, None)


def _extent(values: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    absent = mass == 0
    low = values.masked_fill(absent, torch.inf).amin(1)
    high = values.masked_fill(absent, -torch.inf).amax(1)
    return low, high


def _positive(scale: Tensor) -> Tensor:
    """A block of zeros may have any scale; the smallest normal number would overflow when divided by."""
    return torch.where(scale > 1e-30, scale, torch.ones_like(scale))
