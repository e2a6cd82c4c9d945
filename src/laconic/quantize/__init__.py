"""Fewer bits a value: one technique = one file; how far a grid reaches is chosen in `ranges`."""

from laconic.quantize.activations import RoundActivations
from laconic.quantize.compensated import CompensatedRounding
from laconic.quantize.ranges import LeastError, MinMax, Percentile, Range
from laconic.quantize.reconstruct import BlockReconstruction
from laconic.quantize.round_to_nearest import RoundToNearest
from laconic.quantize.round_to_values import MXFP4, MXFP6, MXFP8, MXINT8, RoundToValues
from laconic.quantize.scalar_codebook import ScalarCodebook
from laconic.quantize.vector_codebook import VectorCodebook
from laconic.quantize.whole import quantize

Technique = RoundToNearest | CompensatedRounding | RoundToValues | ScalarCodebook | VectorCodebook
ALL: tuple[type[Technique], ...] = (RoundToNearest, CompensatedRounding, RoundToValues, ScalarCodebook, VectorCodebook)

__all__ = [
    "ALL",
    "MXFP4",
    "MXFP6",
    "MXFP8",
    "MXINT8",
    "BlockReconstruction",
    "CompensatedRounding",
    "LeastError",
    "MinMax",
    "Percentile",
    "Range",
    "RoundActivations",
    "RoundToNearest",
    "RoundToValues",
    "ScalarCodebook",
    "VectorCodebook",
    "quantize",
]
