"""How much data is read: all that was asked for where that is quick, as much as serves where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from torch import nn

from laconic.calibrate import Layer, layers
from laconic.graph import Costs

QUICK = 2**37
"""Multiply-accumulates of a pass over calibration data that is quick: about four seconds of one core."""
FEWEST, ENOUGH, MOST_WEIGHTS = 128, 12, 0.9
"""Samples at the least, and positions for each input of a layer, for the layers that hold nearly all weights. Plans for
a transformer of 3.7 M weights, measured on others, at 0.08 of the bytes: 0.058 nats with 64 positions an input, 0.053
with 12, 0.060 with 8, 0.065 with 4."""
HELD_BACK, FEW_HELD_BACK = 256, 64
"""Samples that whole plans are measured on, where that is quick and where it is not."""
OFFERS, FEW_OFFERS = 128, 32
"""The same for single offers."""
BLOCKS = 256
"""Samples to price blocks on, where that is quick; where it is not, as many as for single offers."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Samples that each kind of pass reads.

    Args:
        calibration: for evidence, and to fit what remains after a cut.
        held_back: to measure whole plans; they come after those for calibration.
        offers: of these, to measure single changes.
        blocks: for the prices of blocks.
    """

    calibration: int
    held_back: int = HELD_BACK
    offers: int = OFFERS
    blocks: int = BLOCKS

    @classmethod
    def of(cls, model: nn.Module, costs: Costs, samples: int) -> Self:
        """Returns what a model's size allows, given how many samples may be read for calibration."""
        quick = QUICK // max(costs.macs, 1)
        return cls(
            calibration=min(samples, max(quick, FEWEST, _serving(model, costs))),
            held_back=max(FEW_HELD_BACK, min(HELD_BACK, quick)),
            offers=max(FEW_OFFERS, min(OFFERS, quick // 4)),
            blocks=max(FEW_OFFERS, min(BLOCKS, quick // 4)),
        )


def _serving(model: nn.Module, costs: Costs) -> int:
    """Returns with how many samples the layers that hold most weights see enough positions."""
    needed = sorted(
        _needed(layer, macs) for layer in layers(model) if (macs := costs.macs_by_parameter.get(layer.parameter))
    )
    total = sum(weights for _, weights in needed)
    held = accumulate(weights for _, weights in needed)
    return next((count for (count, _), so_far in zip(needed, held, strict=True) if so_far >= MOST_WEIGHTS * total), 0)


def _needed(layer: Layer, macs: int) -> tuple[int, int]:
    """Returns how many samples a layer needs, and its weights: each is multiplied once at every position."""
    weights = math.prod(layer.shape)
    return math.ceil(ENOUGH * layer.matrix_shape[2] * weights / macs), weights
