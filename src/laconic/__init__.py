"""Laconic makes trained PyTorch networks small and fast, and proves it."""

from laconic.calibrate import Evidence, calibrate
from laconic.core.apply import apply, refit
from laconic.core.budget import Budget
from laconic.core.errors import (
    ArtifactError,
    DataError,
    ExportError,
    LaconicError,
    ModelError,
    TrainingError,
    UsageError,
)
from laconic.core.metric import Metric
from laconic.core.plain_weights import plain_weights
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Batch, Task
from laconic.distill import SoftLabels, SquaredError, student
from laconic.export.artifact import load_into, verify
from laconic.factorize import factorize
from laconic.graph.axes import axes
from laconic.pipeline import Recovery, Result, advise, compress
from laconic.prune import Pruned, Trimmed, load_pruned, migrate, prune, trim_vocabulary
from laconic.prune.weights import sparsify
from laconic.quantize import RoundActivations, RoundToNearest, quantize
from laconic.report import Advice, Report
from laconic.select import allocate, price
from laconic.share import share
from laconic.solve import correct
from laconic.streaming import Streamed, stream
from laconic.train import AdamW, Training, distill, supervised, train

__all__ = [
    "AdamW",
    "Advice",
    "ArtifactError",
    "Batch",
    "Budget",
    "DataError",
    "Evidence",
    "ExportError",
    "LaconicError",
    "Metric",
    "ModelError",
    "Plan",
    "Pruned",
    "Recovery",
    "Report",
    "Result",
    "RoundActivations",
    "RoundToNearest",
    "SoftLabels",
    "SquaredError",
    "Streamed",
    "Target",
    "Task",
    "Training",
    "TrainingError",
    "Trimmed",
    "UsageError",
    "advise",
    "allocate",
    "apply",
    "axes",
    "calibrate",
    "compress",
    "correct",
    "distill",
    "factorize",
    "load_into",
    "load_pruned",
    "migrate",
    "plain_weights",
    "price",
    "prune",
    "quantize",
    "refit",
    "share",
    "sparsify",
    "stream",
    "student",
    "supervised",
    "train",
    "trim_vocabulary",
    "verify",
]
