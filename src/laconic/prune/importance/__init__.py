"""Criteria: which indices of an axis matter least."""

from laconic.prune.importance.batch_norm_scale import BatchNormScale
from laconic.prune.importance.compensated import Compensated
from laconic.prune.importance.fisher import Fisher
from laconic.prune.importance.geometric_median import GeometricMedian
from laconic.prune.importance.lamp import Lamp
from laconic.prune.importance.magnitude import Magnitude
from laconic.prune.importance.random import Random
from laconic.prune.importance.removal import Importance, Known, Removal

ALL: tuple[type[Importance], ...] = (Compensated, Magnitude, Lamp, GeometricMedian, BatchNormScale, Fisher, Random)

__all__ = [
    "ALL",
    "BatchNormScale",
    "Compensated",
    "Fisher",
    "GeometricMedian",
    "Importance",
    "Known",
    "Lamp",
    "Magnitude",
    "Random",
    "Removal",
]
