"""Fewer bits a value: one technique = one file; how far a grid reaches is chosen in `ranges`."""

from laconic.quantize.activations import RoundActivations
from laconic.quantize.compensated import CompensatedRounding
from laconic.quantize.ranges import LeastError, MinMax, Percentile, Range
from laconic.quantize.round_to_nearest import RoundToNearest
from laconic.quantize.whole import quantize

ALL: tuple[type[RoundToNearest | CompensatedRounding], ...] = (RoundToNearest, CompensatedRounding)

__all__ = [
    "ALL",
    "CompensatedRounding",
    "LeastError",
    "MinMax",
    "Percentile",
    "Range",
    "RoundActivations",
    "RoundToNearest",
    "quantize",
]
