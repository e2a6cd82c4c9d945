"""One layer by itself, as the graph that the export would write for it."""

from __future__ import annotations

import math
from typing import Any, Literal, final

import numpy as np
import onnx_ir as ir
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from laconic.calibrate import Layer
from laconic.core.coding import Coding
from laconic.core.codings import AffineGrid, Codebook, Sparse, ValueGrid, Zipped
from laconic.core.formats import NF4
from laconic.export.onnxruntime.capture import OPSET
from laconic.export.onnxruntime.exporting import serialised, written
from laconic.export.onnxruntime.functions import DOMAIN
from laconic.export.onnxruntime.marks import mark
from laconic.measure.record import RECORD
from laconic.quantize import RoundToNearest, RoundToValues

WEIGHT, BIAS, GROUP = "weight", "bias", 8
STEP, ZERO = np.array(1 / 32, np.float32), np.array(128, np.uint8)  # of rounded inputs drawn from a normal distribution


@final
@dataclass(frozen=True, kw_only=True, config=RECORD)
class LayerShape:
    """Everything about a layer that its time depends on, but what its weight is made of.

    Args:
        kind: what acts.
        inputs: channels that go in.
        outputs: channels that come out.
        sizes: all other sizes of the input: of a convolution `(batch, *space)`, else the leading ones.
        kernel: one number a spatial dimension, as are the next three; empty for a linear layer.
        stride: in steps of the input.
        padding: on both sides.
        dilation: of the kernel.
        groups: of channels.
    """

    kind: Literal["linear", "conv", "conv_transpose"]
    inputs: int
    outputs: int
    sizes: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def input(self) -> tuple[int, ...]:
        """The shape of what goes in."""
        return (*self.sizes, self.inputs) if self.kind == "linear" else (self.sizes[0], self.inputs, *self.sizes[1:])

    @property
    def weight(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        if self.kind == "conv_transpose":
            return (self.inputs, self.outputs // self.groups, *self.kernel)
        return (self.outputs, self.inputs // self.groups, *self.kernel)


@final
@dataclass(frozen=True, kw_only=True, config=RECORD)
class Form:
    """What a layer's weight is stored as, and whether what flows around it is rounded to 8 bits.

    Args:
        weight: `float`; `grid` - evenly spaced, a scale and at most one zero point a channel; `groups` - any other grid
            of even spacing; `table` - values looked up.
        bits: of a code; 32 for float, 4 for every table.
        input_rounded: what goes in.
        output_rounded: what comes out, by whoever reads it or by the layer itself.
    """

    weight: Literal["float", "grid", "groups", "table"] = "float"
    bits: int = 32
    input_rounded: bool = False
    output_rounded: bool = False


FLOAT = Form()


def form_of(coding: Coding) -> Form:
    """Returns the form of a weight, nothing around it being rounded.

    Example:
        >>> layer = Layer(parameter="w", kind="linear", shape=(4, 8))
        >>> form_of(RoundToNearest(bits=4).encode(torch.ones(4, 8), layer))
        Form(weight='grid', bits=4, input_rounded=False, output_rounded=False)
    """
    match coding:
        case Zipped():
            return form_of(coding.inner)
        case Sparse():
            return form_of(coding.inner)
        case AffineGrid():
            uneven = coding.zero_point is not None and len(set(coding.zero_point.tolist())) > 1
            return Form(weight="groups" if uneven or coding.blocks.group_size else "grid", bits=coding.bits)
        case ValueGrid() | Codebook():
            return Form(weight="table", bits=4)
    return FLOAT


def layer_graph(shape: LayerShape, form: Form) -> tuple[bytes, str]:
    """Returns an ONNX file of one layer with random weights, and the operators that ONNX Runtime multiplies with.

    Args:
        shape: of the layer.
        form: of its weight, and what around it is rounded.

    Raises:
        ExportError: the runtime refuses the layer.
    """
    weight = _random(shape.weight, shape)
    whole = _model(shape, form, weight)
    grids = {}
    if form.weight != "float":
        layer = Layer(parameter=WEIGHT, kind=shape.kind, shape=shape.weight, groups=shape.groups)
        grids[WEIGHT] = _coded(weight, layer, form)
        mark(whole, {WEIGHT: WEIGHT})
    found, kernels, _ = written(whole, grids)
    return serialised(found), kernels.get(WEIGHT, "")


def _random(size: tuple[int, ...], shape: LayerShape) -> Tensor:
    fan_in = shape.inputs // shape.groups * math.prod(shape.kernel)
    return torch.randn(size, generator=torch.Generator().manual_seed(0)).div(math.sqrt(fan_in))


def _coded(weight: Tensor, layer: Layer, form: Form) -> AffineGrid | ValueGrid:
    if form.weight == "table":
        found = RoundToValues(format=NF4).encode(weight, layer)
        assert isinstance(found, ValueGrid)
        return found
    return RoundToNearest(bits=form.bits, per=GROUP if form.weight == "groups" else "channel").encode(weight, layer)


def _model(shape: LayerShape, form: Form, weight: Tensor) -> ir.Model:
    start = ir.Value(name="x", shape=ir.Shape(shape.input), type=ir.TensorType(ir.DataType.FLOAT))
    held = [_constant(WEIGHT, weight.numpy()), _constant(BIAS, np.zeros(shape.outputs, np.float32))]
    grid = [_constant("step", STEP), _constant("zero", ZERO)]
    nodes: list[ir.Node] = []

    def add(op_type: str, inputs: list[ir.Value], **attributes: Any) -> ir.Value:
        nodes.append(ir.node(op_type, inputs, attributes))
        return nodes[-1].outputs[0]

    def rounded(value: ir.Value) -> ir.Value:
        return add("DequantizeLinear", [add("QuantizeLinear", [value, *grid]), *grid])

    value = rounded(start) if form.input_rounded else start
    if shape.kind == "linear" and len(shape.sizes) > 1:
        turned = add("Transpose", held[:1], perm=[1, 0])
        turned.shape, turned.type = ir.Shape(shape.weight[::-1]), ir.TensorType(ir.DataType.FLOAT)
        value = add("Add", [add("MatMul", [value, turned]), held[1]])
    elif shape.kind == "linear":
        value = add("Gemm", [value, *held], transB=1)
    else:
        op_type = "Conv" if shape.kind == "conv" else "ConvTranspose"
        value = add(op_type, [value, *held], **_geometry(shape))
    value = rounded(value) if form.output_rounded else value
    value.name, value.type = "y", ir.TensorType(ir.DataType.FLOAT)
    initializers = held + (grid if form.input_rounded or form.output_rounded else [])
    opsets = {"": OPSET, DOMAIN: 1}
    graph = ir.Graph([start], [value], nodes=nodes, initializers=initializers, opset_imports=opsets, name="layer")
    return ir.Model(graph, ir_version=10)


def _geometry(shape: LayerShape) -> dict[str, Any]:
    return {
        "kernel_shape": list(shape.kernel),
        "strides": list(shape.stride),
        "pads": [*shape.padding, *shape.padding],
        "dilations": list(shape.dilation),
        "group": shape.groups,
    }


def _constant(name: str, array: np.ndarray[Any, Any]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    return ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
