"""From a PyTorch model to an ONNX graph that still has every parameter under its own name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from laconic.graph import Graph, capture
from laconic.graph.quiet import quietly
from laconic.graph.recurrent_shapes import recurrent_shapes
from laconic.graph.sizes import Sizes, input_names

OPSET = 21
PREFIX = "model."
SYMBOL = re.compile(r"[A-Za-z_]\w*")
op: Any = opset21  # its annotations are for bodies of onnxscript functions


@dataclass(frozen=True, kw_only=True)
class Captured:
    """An ONNX graph of a model in eval mode, not optimised.

    Args:
        model: inputs in the order of `Batch.inputs`, one output, initializers named like the parameters.
        dynamic_batch: whether it accepts any batch size.
        sizes: those that may change from call to call.
        largest: name of such a size -> the most that it may be, where there is a limit.
    """

    model: ir.Model
    dynamic_batch: bool
    sizes: Sizes
    largest: Mapping[str, int]


def to_onnx(model: nn.Module, batch: Batch, task: Task, sizes: Sizes | None = None) -> Captured:
    """Captures a model's logits as an ONNX graph.

    Args:
        model: any module; rounded activations become QuantizeLinear and DequantizeLinear.
        batch: an example.
        task: how to call the model and where its logits are.
        sizes: that may change from call to call, as far as the model allows.

    Raises:
        ModelError: the model fails on the batch, or cannot be captured.
        ExportError: an operator of the model has no ONNX counterpart.
    """
    name = type(model).__name__
    try:
        graph = _captured(Logits(model, batch, task), batch, sizes or {})
    except ModelError as error:
        raise ModelError(str(error).replace(Logits.__name__, name)) from error
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
    _name(found, input_names(model, batch), _size_names(graph))
    _strip(found)
    return Captured(
        model=found,
        dynamic_batch=graph.dynamic_batch,
        sizes=graph.sizes,
        largest=_largest(graph),
    )


def _captured(model: nn.Module, batch: Batch, sizes: Sizes) -> Graph:
    """Captures once more where some sizes are constants after all, so that they are plain numbers everywhere."""
    graph = capture(model, batch.inputs, sizes=sizes)
    left = {i: {dim: sizes[i][dim] for dim in dims} for i, dims in graph.dynamic_sizes.items()}
    return graph if left == sizes else capture(model, batch.inputs, sizes=left)


def _size_names(graph: Graph) -> dict[str, str]:
    """Returns symbol -> what a user calls the size."""
    found = {str(symbol): "batch" for symbol in graph.batch_symbols}
    for i, dims in graph.dynamic_sizes.items():
        for dim, expression in dims.items():
            found.setdefault(str(expression), graph.sizes[i][dim])
    return found


def _largest(graph: Graph) -> dict[str, int]:
    """Returns the limits that the model itself sets, as a table with one row a position does."""
    found: dict[str, int] = {}
    for i, dims in graph.dynamic_sizes.items():
        for dim, expression in dims.items():
            known = graph.program.range_constraints.get(expression)
            if known is not None and known.upper.is_Integer:
                found[graph.sizes[i][dim]] = int(known.upper)
    return found


class Logits(nn.Module):
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


def _name(model: ir.Model, input_names: list[str], sizes: Mapping[str, str]) -> None:
    """Calls inputs, output and sizes what a user calls them."""
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
    for shown in (*graph.inputs, *graph.outputs):
        if shown.shape is not None:
            shown.shape = ir.Shape([d if isinstance(d, int) else _said(str(d.value), sizes) for d in shown.shape])


def _said(size: str, names: Mapping[str, str]) -> str:
    """Returns a size, or an expression of sizes, by the names that they have for a user."""
    return SYMBOL.sub(lambda found: names.get(found.group(), found.group()), size)


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
