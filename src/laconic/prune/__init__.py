"""Structured pruning: whole channels, neurons, heads and widths go, and what remains is proven."""

from laconic.prune.depth import remove_blocks
from laconic.prune.gradual import Step, gradually
from laconic.prune.importance import (
    ALL,
    Activation,
    Apoz,
    BatchNormScale,
    Compensated,
    Fisher,
    GeometricMedian,
    Importance,
    Known,
    Lamp,
    Magnitude,
    Random,
    Removal,
    Taylor,
)
from laconic.prune.migrate import migrate
from laconic.prune.pruned import Pruned
from laconic.prune.refit import refit
from laconic.prune.saved import Loaded, load_pruned
from laconic.prune.trimmed import IdMap, Trimmed
from laconic.prune.vocabulary import trim_vocabulary
from laconic.prune.whole import prune

__all__ = [
    "ALL",
    "Activation",
    "Apoz",
    "BatchNormScale",
    "Compensated",
    "Fisher",
    "GeometricMedian",
    "IdMap",
    "Importance",
    "Known",
    "Lamp",
    "Loaded",
    "Magnitude",
    "Pruned",
    "Random",
    "Removal",
    "Step",
    "Taylor",
    "Trimmed",
    "gradually",
    "load_pruned",
    "migrate",
    "prune",
    "refit",
    "remove_blocks",
    "trim_vocabulary",
]
