"""Criteria: which indices of an axis matter least."""

from laconic.prune.importance.activation import Activation
from laconic.prune.importance.activity import Activity, activity
from laconic.prune.importance.apoz import Apoz
from laconic.prune.importance.batch_norm_scale import BatchNormScale
from laconic.prune.importance.compensated import Compensated
from laconic.prune.importance.fisher import Fisher
from laconic.prune.importance.geometric_median import GeometricMedian
from laconic.prune.importance.lamp import Lamp
from laconic.prune.importance.magnitude import Magnitude
from laconic.prune.importance.random import Random
from laconic.prune.importance.removal import Importance, Known, Need, Removal
from laconic.prune.importance.slopes import slopes
from laconic.prune.importance.taylor import Taylor

ALL: tuple[type[Importance], ...] = (
    Compensated,
    Magnitude,
    Lamp,
    GeometricMedian,
    BatchNormScale,
    Taylor,
    Fisher,
    Activation,
    Apoz,
    Random,
)

__all__ = [
    "ALL",
    "Activation",
    "Activity",
    "Apoz",
    "BatchNormScale",
    "Compensated",
    "Fisher",
    "GeometricMedian",
    "Importance",
    "Known",
    "Lamp",
    "Magnitude",
    "Need",
    "Random",
    "Removal",
    "Taylor",
    "activity",
    "slopes",
]
