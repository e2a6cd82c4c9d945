"""The model as a graph: captured once, read by every analysis."""

from laconic.graph.capture import Graph, capture
from laconic.graph.costs import Costs, costs
from laconic.graph.flow import Call, Op, called_once, weighted_calls

__all__ = ["Call", "Costs", "Graph", "Op", "called_once", "capture", "costs", "weighted_calls"]
