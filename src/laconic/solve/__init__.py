"""Weights projected onto a set, one input at a time, each error made up for by the inputs not yet fixed."""

from laconic.solve.blockwise import in_vectors
from laconic.solve.conjugate import conjugate_gradients
from laconic.solve.correct import correct
from laconic.solve.in_order import code_in_order
from laconic.solve.least_squares import least_squares
from laconic.solve.metric import InputMetric
from laconic.solve.passing import EXACT, halfway, through
from laconic.solve.shared import Product, halfway_inputs, metric_of, nats_of, through_inputs
from laconic.solve.support import alternate, prune_in_order
from laconic.solve.sweep import Rule, VectorRule, compensate, compensate_vectors, refine, refine_vectors

__all__ = [
    "EXACT",
    "InputMetric",
    "Product",
    "Rule",
    "VectorRule",
    "alternate",
    "code_in_order",
    "compensate",
    "compensate_vectors",
    "conjugate_gradients",
    "correct",
    "halfway",
    "halfway_inputs",
    "in_vectors",
    "least_squares",
    "metric_of",
    "nats_of",
    "prune_in_order",
    "refine",
    "refine_vectors",
    "through",
    "through_inputs",
]
