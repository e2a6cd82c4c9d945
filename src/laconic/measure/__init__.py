"""Reads figures off models and artifacts: size, memory, latency, score, distance from the original."""

from laconic.measure.answers import Answer, Kept, answers
from laconic.measure.divergence import Agreement, Divergence, agreement, compare, kl_divergence
from laconic.measure.figures import Figures
from laconic.measure.intervals import Interval, wilson
from laconic.measure.latency import Latency, Ratio, latency, ratio
from laconic.measure.memory import peak_memory
from laconic.measure.quality import Score, check_labels, evaluate
from laconic.measure.runner import Runner, TorchRunner
from laconic.measure.size import file_bytes, module_bytes, parameter_count

__all__ = [
    "Agreement",
    "Answer",
    "Divergence",
    "Figures",
    "Interval",
    "Kept",
    "Latency",
    "Ratio",
    "Runner",
    "Score",
    "TorchRunner",
    "agreement",
    "answers",
    "check_labels",
    "compare",
    "evaluate",
    "file_bytes",
    "kl_divergence",
    "latency",
    "module_bytes",
    "parameter_count",
    "peak_memory",
    "ratio",
    "wilson",
]
