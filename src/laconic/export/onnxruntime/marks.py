"""Recoded weights as nodes that stand for themselves while the rest of the graph is optimised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.optimizer import optimize_ir

from laconic.export.onnxruntime.builder import Array, Builder, known, sizes
from laconic.export.onnxruntime.functions import DOMAIN
from laconic.graph.quiet import quietly

MARK = "Weight"
_NORMALISED = ("Conv", "ConvTranspose", "Gemm")


def mark(model: ir.Model, parameters: Mapping[str, str]) -> None:
    """Replaces initializers by marks, which no optimiser sees through.

    Args:
        model: changed in place.
        parameters: initializer -> the parameter that it holds.
    """
    for name, parameter in parameters.items():
        weight = model.graph.initializers[name]
        node = ir.node(MARK, [], {"parameter": parameter}, domain=DOMAIN, name=parameter)
        stand_in = node.outputs[0]
        stand_in.name, stand_in.shape, stand_in.type = f"{name}.marked", weight.shape, weight.type
        weight.replace_all_uses_with(stand_in)
        del model.graph.initializers[name]
        model.graph.insert_before(model.graph[0], node)
    model.graph.opset_imports[DOMAIN] = 1


def marks(model: ir.Model) -> Iterator[ir.Node]:
    """Yields the marks that are still there."""
    yield from [node for node in model.graph if node.domain == DOMAIN and node.op_type == MARK]


def parameter_of(node: ir.Node) -> str:
    """Returns the parameter that a mark stands for."""
    return node.attributes["parameter"].as_string()


def optimise(model: ir.Model) -> None:
    """Simplifies the graph around the marks, and takes batch normalisation into the weights before it."""
    with quietly():
        optimize_ir(model, should_fold=_worth_folding)
    for node in list(model.graph):
        if node.op_type == "BatchNormalization":
            _absorb(model, node)
    passes.RemoveUnusedNodesPass()(model)


def _worth_folding(node: ir.Node) -> bool | None:
    """A second copy of a weight that is used elsewhere too would only make the file larger."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type == "Transpose" and source is not None and len(source.uses()) > 1:
        return False
    return None


def _absorb(model: ir.Model, norm: ir.Node) -> None:
    """Takes a batch normalisation into the marked weight and the bias of the layer before it.

    The weight is multiplied by an explicit operator, so that its codes stay as they are.
    """
    layer = norm.inputs[0].producer() if norm.inputs[0] is not None else None
    statistics = [known(value) for value in norm.inputs[1:]]
    if layer is None or not _can_absorb(layer) or any(s is None for s in statistics):
        return
    gamma, beta, mean, variance = (np.asarray(s, np.float64) for s in statistics)
    epsilon = norm.attributes.get("epsilon")
    factor = gamma / np.sqrt(variance + (epsilon.as_float() if epsilon is not None else 1e-5))
    shifted = (_bias(layer) - mean) * factor + beta
    build, x, weight = Builder(model, layer), layer.inputs[0], layer.inputs[1]
    assert x is not None and weight is not None
    factors = build.constant(f"{norm.name}.factor", _along_outputs(layer, factor).astype(np.float32))
    product = build.node("Mul", [weight, factors])
    product.shape, product.type = weight.shape, weight.type
    biases = build.constant(f"{norm.name}.bias", shifted.astype(np.float32))
    attributes = {name: value for name, value in layer.attributes.items() if name != "beta"}
    fused = build.node(layer.op_type, [x, product, biases], **attributes)
    fused.shape, fused.type = norm.outputs[0].shape, norm.outputs[0].type
    norm.outputs[0].replace_all_uses_with(fused, replace_graph_outputs=True)
    model.graph.remove([norm, layer], safe=True)


def _bias(layer: ir.Node) -> Array:
    """Returns what the layer adds, scaled as Gemm scales it; zero where it adds nothing."""
    bias = known(layer.inputs[2]) if len(layer.inputs) > 2 else None
    scale = layer.attributes.get("beta")
    return np.zeros(1) if bias is None else bias * (scale.as_float() if scale is not None else 1.0)


def _can_absorb(layer: ir.Node) -> bool:
    weight = layer.inputs[1] if layer.op_type in _NORMALISED else None
    source = weight.producer() if weight is not None else None
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    return (
        source is not None
        and source.op_type == MARK
        and (bias is None or known(bias) is not None)
        and len(layer.outputs[0].uses()) == 1
        and not layer.outputs[0].is_graph_output()
    )


def _along_outputs(layer: ir.Node, factor: Array) -> Array:
    """Returns a factor for each output channel in a shape that multiplies the layer's weight."""
    shape, groups = sizes(layer.inputs[1]), layer.attributes.get("group")
    assert shape is not None
    rank = len(shape)
    if layer.op_type != "ConvTranspose":
        first = layer.op_type == "Conv" or bool((a := layer.attributes.get("transB")) and a.as_int())
        return factor.reshape(-1, *[1] * (rank - 1)) if first else factor
    # A transposed convolution's weight is [in, out / groups, ...]: each group of inputs has its own outputs.
    count = groups.as_int() if groups is not None else 1
    rows = np.repeat(factor.reshape(count, -1), shape[0] // count, axis=0)
    rows = rows[:1] if count == 1 else rows
    return rows.reshape(*rows.shape, *[1] * (rank - 2))
