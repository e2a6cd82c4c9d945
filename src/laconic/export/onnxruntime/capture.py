"""From a PyTorch model to an ONNX graph that still has every parameter under its own name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset21
from torch import Tensor, nn

from laconic.core import rounding  # noqa: F401 - registers torch.ops.laconic.round_to_grid
from laconic.core.errors import ExportError, ModelError
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime.builder import Array
from laconic.graph import capture
from laconic.graph.quiet import quietly
from laconic.graph.recurrent_shapes import recurrent_shapes

OPSET = 21
PREFIX = "model."
op: Any = opset21  # its annotations are for bodies of onnxscript functions


@dataclass(frozen=True, kw_only=True)
class Captured:
    """An ONNX graph of a model in eval mode, not optimised.

    Args:
        model: inputs in the order of `Batch.inputs`, one output, initializers named like the parameters.
        dynamic_batch: whether it accepts any batch size.
    """

    model: ir.Model
    dynamic_batch: bool


def to_onnx(model: nn.Module, batch: Batch, task: Task) -> Captured:
    """Captures a model's logits as an ONNX graph.

    Args:
        model: any module; rounded activations become QuantizeLinear and DequantizeLinear.
        batch: an example.
        task: how to call the model and where its logits are.

    Raises:
        ModelError: the model fails on the batch, or cannot be captured.
        ExportError: an operator of the model has no ONNX counterpart.
    """
    name = type(model).__name__
    try:
        graph = capture(_Logits(model, batch, task), batch.inputs)
    except ModelError as error:
        raise ModelError(str(error).replace(_Logits.__name__, name)) from error
    try:
        with torch.no_grad(), recurrent_shapes(), quietly():
            exported = torch.onnx.export(
                graph.program,
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                verbose=False,
                custom_translation_table={
                    torch.ops.laconic.round_to_grid.default: _rounding,
                    torch.ops.laconic.round_channels.default: _rounding_channels,
                    torch.ops.laconic.round_vectors.default: _rounding_vectors,
                },
            )
    except Exception as error:
        raise ExportError(
            f"export to ONNX: {name}: {_root(error)}. Replace the operator by others, or keep the model in PyTorch."
        ) from error
    assert exported is not None
    found = exported.model
    _name(found, _input_names(model, batch))
    _strip(found)
    return Captured(model=found, dynamic_batch=graph.dynamic_batch)


class _Logits(nn.Module):
    """The model as a function from the batch's tensors to the logits."""

    def __init__(self, model: nn.Module, batch: Batch, task: Task) -> None:
        super().__init__()
        self.model = model
        self.batch = batch
        self.task = task

    def forward(self, *tensors: Tensor) -> Tensor:
        """Returns the logits."""
        rest = iter(tensors)

        def fill(value: Any) -> Any:
            return next(rest) if isinstance(value, Tensor) else value

        args = tuple(fill(v) for v in self.batch.args)
        kwargs = {k: fill(v) for k, v in self.batch.kwargs.items()}
        return self.task.forward(self.model, Batch(args=args, kwargs=kwargs))


def _rounding(values: ir.Value, scale: float, zero_point: int, highest: int) -> ir.Value:
    """Returns `round_to_grid` in ONNX; codes are cut between the two, where no kernel fusion minds."""
    return _through_codes(values, np.array(scale, np.float32), np.array(zero_point, np.uint8), highest)


def _rounding_channels(
    values: ir.Value, scale: Sequence[float], zero_point: Sequence[int], dim: int, highest: int
) -> ir.Value:
    """Returns `round_channels` in ONNX."""
    return _through_codes(values, np.array(scale, np.float32), np.array(zero_point, np.uint8), highest, axis=dim)


def _through_codes(values: ir.Value, scale: Array, zero_point: Array, highest: int, **axis: int) -> ir.Value:
    step, zero = _constant(scale), _constant(zero_point)
    codes = op.QuantizeLinear(values, step, zero, **axis)
    if highest < 255:
        codes = op.Min(codes, _constant(np.array(highest, np.uint8)))
    rounded: ir.Value = op.DequantizeLinear(codes, step, zero, **axis)
    return rounded


def _rounding_vectors(values: ir.Value, highest: int) -> ir.Value:
    """Returns `round_vectors` in ONNX: no operator of its own finds a range for each vector, so it is spelled out."""
    nothing, last = _constant(np.zeros((), np.float32)), _constant(np.array([-1]))
    low = op.Min(op.ReduceMin(values, last, keepdims=1), nothing)
    high = op.Max(op.ReduceMax(values, last, keepdims=1), nothing)
    span = op.Div(op.Sub(high, low), _constant(np.array(highest, np.float32)))
    step = op.Where(op.Greater(span, nothing), span, _constant(np.ones((), np.float32)))
    zero = op.Round(op.Div(op.Neg(low), step))
    codes = op.Clip(op.Add(op.Round(op.Div(values, step)), zero), nothing, _constant(np.array(highest, np.float32)))
    rounded: ir.Value = op.Mul(op.Sub(codes, zero), step)
    return rounded


def _constant(array: Array) -> Any:
    return op.Constant(value=ir.tensor(array))


def _input_names(model: nn.Module, batch: Batch) -> list[str]:
    """Returns the names under which the user knows the input tensors."""
    positional = [
        p.name for p in inspect.signature(model.forward).parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD
    ]
    positional += [f"input_{i}" for i in range(len(positional), len(batch.args))]
    named = [*zip(positional, batch.args, strict=False), *batch.kwargs.items()]
    return [name for name, value in named if isinstance(value, Tensor)]


def _name(model: ir.Model, input_names: list[str]) -> None:
    graph = model.graph
    for value in list(graph.initializers.values()):
        if value.name is not None:
            value.name = value.name.removeprefix(PREFIX)
    between = {value.name: value for node in graph for value in node.outputs}
    taken = {*graph.initializers, *between, *input_names}
    for name in {*input_names, "logits"} & between.keys():  # Users know inputs and the output by these names.
        between[name].name = next(n for i in count(1) if (n := f"{name}_{i}") not in taken)
        taken.add(between[name].name)
    for value, name in zip(graph.inputs, input_names, strict=True):
        value.name = f"{name}_input" if name in graph.initializers else name
    if "logits" not in {*graph.initializers, *input_names}:
        graph.outputs[0].name = "logits"
    _name_batch(graph)


def _name_batch(graph: ir.Graph) -> None:
    """Calls the batch dimension `batch` wherever a user sees it."""
    symbols = {d for v in graph.inputs if v.shape is not None for d in v.shape[:1] if not isinstance(d, int)}
    for value in (*graph.inputs, *graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape(["batch" if d in symbols else d for d in value.shape])


def _strip(model: ir.Model) -> None:
    """Takes out what the exporter notes about the user's source code: it is larger than small models."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _root(error: BaseException) -> str:
    """Returns the first line of what started it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__).rstrip(".")
