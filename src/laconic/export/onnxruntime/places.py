"""Where a graph multiplies with recoded weights, and whether an integer kernel could do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from laconic.core.coding import Coding
from laconic.core.codings.affine import AffineGrid
from laconic.export.onnxruntime.builder import Array, known
from laconic.export.onnxruntime.marks import MARK, marks, parameter_of

# Operators that move values without changing them: a rounded tensor is still rounded behind them.
_MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Slice", "Gather", "Identity")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One use of a recoded weight by an operator that multiplies with it.

    Args:
        name: of the operator, unique in the graph.
        parameter: whose weight it is.
        node: the operator; the weight is its second input.
        factor: what the weight is multiplied by beforehand (a batch normalisation taken in), or None.
        order: the parameter's dimensions in the order in which the operator sees them.
        output: which of the dimensions that the operator sees is that of the output channels.
        step: the scale of the operator's rounded input: one, one a channel, or None where that is not rounded.
    """

    name: str
    parameter: str
    node: ir.Node
    factor: Array | None
    order: tuple[int, ...]
    output: int
    step: Array | None


def places(model: ir.Model) -> list[Place]:
    """Finds every operator that multiplies with a marked weight, and names it after the weight's parameter."""
    found: list[Place] = []
    for node in model.graph:
        place = _place(node, len(found))
        if place is not None:
            node.name = place.name
            found.append(place)
    return found


def obstacle(place: Place, grid: Coding) -> str | None:
    """Returns why no integer kernel can take the weight, or None if one could.

    Kernels know evenly spaced values, one scale for each output channel, and one zero point.
    """
    if place.step is not None and place.step.ndim:
        return "its input has a scale for each channel, and integer kernels want one"
    if not isinstance(grid, AffineGrid):
        source = {"low_rank_sum": "are sums", "half": "are float numbers"}.get(grid.kind, "come from a table")
        return f"its values {source}, and integer kernels want evenly spaced ones"
    if grid.blocks.group_size is not None:
        return "scales that change within a channel have no integer kernel"
    if grid.blocks.count > 1 and grid.blocks.axis not in (None, place.order[place.output]):
        return "its scales belong to its inputs, integer kernels want them by output channel"
    if grid.zero_point is not None and len(set(grid.zero_point.tolist())) > 1:
        return "zero points that differ between channels have no integer kernel"
    if place.node.op_type == "ConvTranspose":
        return "ONNX Runtime has no integer kernel for transposed convolutions"
    return None


def refusal(place: Place) -> str:
    """Returns the likely reason why ONNX Runtime left a place in float that looked fit for an integer kernel."""
    node = place.node
    while len(readers := node.outputs[0].consumers()) == 1 and readers[0].op_type in ("Relu", "Clip"):
        node = readers[0]
    if not readers or any(reader.op_type != "QuantizeLinear" for reader in readers):
        return "its output is not rounded everywhere it goes, so ONNX Runtime needs it in float"
    if len(readers) > 1:
        return "its output is rounded to different grids, so ONNX Runtime needs it in float"
    zero = known(readers[0].inputs[2])
    if node is not place.node and zero is not None and zero > 0:
        return "the grid behind its activation reaches below zero, so ONNX Runtime needs its output in float"
    return f"ONNX Runtime has no integer kernel for this {place.node.op_type}"


def looked_up(model: ir.Model) -> list[str]:
    """Returns the parameters of which rows are taken by index: embeddings."""
    readers = {parameter_of(node): node.outputs[0].consumers() for node in marks(model)}
    return [name for name, found in readers.items() if any(reader.op_type == "Gather" for reader in found)]


def rounding_of(value: ir.Value | None) -> ir.Node | None:
    """Returns the DequantizeLinear that a value comes from, if it is only moved on the way."""
    source = value.producer() if value is not None else None
    while source is not None and source.op_type in _MOVES and source.inputs[0] is not None:
        source = source.inputs[0].producer()
    return source if source is not None and source.op_type == "DequantizeLinear" else None


def _place(node: ir.Node, count: int) -> Place | None:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.inputs[1] is None:
        return None
    steps = list(_upwards(node.inputs[1]))
    if not steps or steps[-1].op_type != MARK:
        return None
    parameter, shape = parameter_of(steps[-1]), steps[-1].outputs[0].shape
    assert shape is not None
    order = next((tuple(s.attributes["perm"].as_ints()) for s in steps if s.op_type == "Transpose"), None)
    return Place(
        name=f"{parameter}#{count}",
        parameter=parameter,
        node=node,
        factor=next((known(s.inputs[1]) for s in steps if s.op_type == "Mul"), None),
        order=order or tuple(range(len(shape))),
        output=_output_dimension(node, len(shape)),
        step=_input_step(node),
    )


def _upwards(value: ir.Value) -> Iterator[ir.Node]:
    """Yields the nodes from a weight back to its mark: a multiplication or a transposition may lie between."""
    node = value.producer()
    while node is not None:
        yield node
        passes = node.op_type == "Transpose" or (node.op_type == "Mul" and known(node.inputs[1]) is not None)
        node = node.inputs[0].producer() if passes and node.inputs[0] is not None else None


def _output_dimension(node: ir.Node, rank: int) -> int:
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "Gemm":
        turned = node.attributes.get("transB")
        return 0 if turned is not None and turned.as_int() else 1
    return 0 if node.op_type == "Conv" else 1


def _input_step(node: ir.Node) -> Array | None:
    source = rounding_of(node.inputs[0])
    return known(source.inputs[1]) if source is not None else None
