"""Fewer bits a value: one technique = one file; how far a grid reaches is chosen in `ranges`."""

from laconic.quantize.activations import RoundActivations
from laconic.quantize.compensated import CompensatedRounding
from laconic.quantize.equalize_places import Places, scalable
from laconic.quantize.equalize_rotation import Rotation
from laconic.quantize.equalize_scales import CrossLayer, Smooth
from laconic.quantize.equalize_streams import Streams, turnable
from laconic.quantize.equalize_turns import Stream
from laconic.quantize.equalize_walk import Place, Touch
from laconic.quantize.equalize_whole import equalize, followed_by
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
    "CrossLayer",
    "LeastError",
    "MinMax",
    "Percentile",
    "Place",
    "Places",
    "Range",
    "Rotation",
    "RoundActivations",
    "RoundToNearest",
    "RoundToValues",
    "ScalarCodebook",
    "Smooth",
    "Stream",
    "Streams",
    "Touch",
    "VectorCodebook",
    "equalize",
    "followed_by",
    "quantize",
    "scalable",
    "turnable",
]
