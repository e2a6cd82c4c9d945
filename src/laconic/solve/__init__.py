"""Weights projected onto a set, one input at a time, each error made up for by the inputs not yet fixed."""

from laconic.solve.correct import correct
from laconic.solve.in_order import code_in_order
from laconic.solve.metric import InputMetric
from laconic.solve.passing import through
from laconic.solve.sweep import Rule, compensate, refine

__all__ = ["InputMetric", "Rule", "code_in_order", "compensate", "correct", "refine", "through"]
