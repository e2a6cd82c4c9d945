"""Keeps ONNX Runtime from rounding weights on its own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from laconic.export.onnxruntime.builder import Builder, known, sizes
from laconic.export.onnxruntime.places import rounding_of

_GUARDED = ("Conv", "ConvTranspose", "Gemm")


def guard(model: ir.Model) -> None:
    """Makes operators with a float weight and a rounded input look different from what ONNX Runtime looks for.

    Between a rounded input and a rounded output, ONNX Runtime (`WeightBiasQuantization`, as of 1.31) rounds float
    weights to 8 bits with one scale for the whole tensor, unasked. It looks for inputs with one step for the whole
    tensor, and for constant biases. What is written here means the same, bit for bit, and is left alone.
    """
    for node in list(model.graph):
        if node.op_type not in _GUARDED or rounding_of(node.inputs[1]) is not None:
            continue
        source = rounding_of(node.inputs[0])
        if source is not None and not _repeat_step(model, node, source):
            _hide_bias(model, node)


def _repeat_step(model: ir.Model, node: ir.Node, source: ir.Node) -> bool:
    """Says the input's step channel by channel, which costs nothing, if it is not said so already.

    This is not possible if the input is moved in between.
    """
    channels, codes = _input_channels(node), source.inputs[0]
    step, zero = known(source.inputs[1]), known(source.inputs[2])
    if step is not None and step.ndim:
        return True
    if node.inputs[0] is not source.outputs[0] or channels is None or codes is None or step is None or zero is None:
        return False
    build = Builder(model, node)
    steps = build.constant(f"{step}.{channels}", np.full(channels, step))
    zeros = build.constant(f"{zero}.{channels}", np.full(channels, zero))
    node.replace_input_with(0, build.node("DequantizeLinear", [codes, steps, zeros], axis=1))
    return True


def _hide_bias(model: ir.Model, node: ir.Node) -> None:
    """Writes the bias as its own scale times one. The runtime's fastest float convolutions want a constant instead."""
    channels = _output_channels(node)
    bias = known(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(channels or 0, np.float32)
    weight = node.inputs[1]
    if bias is None or channels is None or weight is None or node.inputs[0] is None:
        return
    build = Builder(model, node)
    ones = build.constant(f"ones.{channels}", np.ones(channels, np.int8))
    scale = build.constant(f"{node.outputs[0].name}.bias", np.broadcast_to(bias, channels).copy())
    hidden = build.node("DequantizeLinear", [ones, scale], axis=0)
    fresh = ir.Node("", node.op_type, [node.inputs[0], weight, hidden], node.attributes.values(), name=node.name)
    model.graph.insert_before(node, fresh)
    node.outputs[0].replace_all_uses_with(fresh.outputs[0], replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def _input_channels(node: ir.Node) -> int | None:
    """Returns the size of the input's dimension 1."""
    shape, turned = sizes(node.inputs[1]), _number(node, "transB", 0)
    if shape is None:
        return None
    if node.op_type == "Gemm":
        return shape[1 if turned else 0]
    return shape[0] if node.op_type == "ConvTranspose" else shape[1] * _number(node, "group", 1)


def _output_channels(node: ir.Node) -> int | None:
    shape, turned = sizes(node.inputs[1]), _number(node, "transB", 0)
    if shape is None:
        return None
    if node.op_type == "ConvTranspose":
        return shape[1] * _number(node, "group", 1)
    return shape[0] if node.op_type == "Conv" or turned else shape[1]


def _number(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
