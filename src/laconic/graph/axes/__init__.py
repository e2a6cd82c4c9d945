"""The axis algebra: which slices of which tensors belong together."""

from laconic.graph.axes.analysis import axes
from laconic.graph.axes.result import Axes, Axis, AxisSlice, FrozenDim

__all__ = ["Axes", "Axis", "AxisSlice", "FrozenDim", "axes"]
