"""The layers of a model as they are called, and what a plan makes of them: shapes and forms, nothing is run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from torch.fx import Node

from laconic.core.activation_grids import ActivationGrid
from laconic.core.edit import Cut, Edit, Recode, RoundActivation, Swap
from laconic.core.spec import Convolutions, Identity, LowRank, Skipped, Stage
from laconic.export.onnxruntime.layer import FLOAT, Form, LayerShape, form_of
from laconic.graph import Call, Graph, weighted_calls
from laconic.graph.macs import products_of, shape_of
from laconic.graph.operators import arguments
from laconic.graph.weights import weight_names


@final
@dataclass(frozen=True, kw_only=True)
class LayerAtWork:
    """One call of a layer.

    Args:
        parameter: its weight.
        module: the module that holds it, as the plan names it.
        shape: of weight and input.
        whole: the same before anything was cut.
        source: the tensor that it reads.
        call: in the original's graph.
        turned: its weight is `[inputs, outputs]`.
        form: of its weight, and what around it is rounded.
        names: parameters of the model that are this weight.
        link: its place in the chain that took the place of the original.
    """

    parameter: str
    module: str
    shape: LayerShape
    whole: LayerShape
    source: str
    call: Call
    turned: bool = False
    form: Form = FLOAT
    names: tuple[str, ...] = ()
    link: int = 0


def layers_at_work(graph: Graph, batch_size: int) -> tuple[LayerAtWork, ...]:
    """Returns every call of a linear layer or convolution whose shape is known.

    Args:
        graph: of the model.
        batch_size: samples of one inference.
    """
    nodes = {node.name: node for node in graph.nodes}
    found = (_at_work(graph, nodes[call.op.node], call, batch_size) for call in weighted_calls(graph))
    return tuple(layer for layer in found if layer is not None)


def changed(layers: Iterable[LayerAtWork], plan: Iterable[Edit]) -> tuple[LayerAtWork, ...]:
    """Returns the layers that a plan leaves, in its shapes and forms.

    Args:
        layers: of the original.
        plan: its edits, in order.
    """
    left = list(layers)
    sites: set[str] = set()
    for edit in plan:
        # Only one grid for a whole tensor is what integer kernels read; others are rounded and left as floats.
        if isinstance(edit, RoundActivation) and isinstance(edit.grid, ActivationGrid):
            sites.add(f"{edit.module}:{edit.side}")
        left = [new for layer in left for new in _after(layer, edit)]
    return tuple(_rounded(layer, left, sites) for layer in left)


def _at_work(graph: Graph, node: Node, call: Call, batch_size: int) -> LayerAtWork | None:
    given, weights = arguments(node), weight_names(graph)
    operands = [operand for candidates, _ in products_of(node) for operand in candidates]
    weight = next(operand for operand in operands if operand in weights)
    read = given.get("input") or next((operand for operand in operands if operand is not weight), None)
    if not isinstance(read, Node) or read is weight or (call.kind == "linear" and len(shape_of(weight)) != 2):
        return None
    sizes = tuple(_number(graph, size, batch_size) for size in shape_of(read))
    turned = call.kind == "linear" and "weight" not in given
    shape = _linear(sizes, shape_of(weight), turned) if call.kind == "linear" else _convolution(given, sizes, call)
    return LayerAtWork(
        parameter=call.parameter,
        module=call.module,
        shape=shape,
        whole=shape,
        source=read.name,
        call=call,
        turned=turned,
        names=tuple(graph.aliases.get(call.parameter, (call.parameter,))),
    )


def _number(graph: Graph, size: Any, batch_size: int) -> int:
    if isinstance(size, int):
        return size
    return int(size.node.expr.subs(dict.fromkeys(graph.batch_symbols, batch_size)))


def _linear(sizes: tuple[int, ...], weight: Sequence[int], turned: bool) -> LayerShape:
    outputs, inputs = reversed(weight) if turned else weight
    return LayerShape(kind="linear", inputs=inputs, outputs=outputs, sizes=sizes[:-1])


def _convolution(given: Mapping[str, Any], sizes: tuple[int, ...], call: Call) -> LayerShape:
    weight, groups = tuple(shape_of(given["weight"])), int(given.get("groups", 1))
    kernel = weight[2:]
    dilation = _each(given["dilation"], len(kernel))
    padding = given["padding"]
    if isinstance(padding, str):
        padding = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    turned = call.kind == "conv_transpose"
    return LayerShape(
        kind="conv_transpose" if turned else "conv",
        inputs=weight[0] if turned else weight[1] * groups,
        outputs=weight[1] * groups if turned else weight[0],
        sizes=(sizes[0], *sizes[2:]) if len(sizes) > len(kernel) + 1 else (1, *sizes[1:]),
        kernel=kernel,
        stride=_each(given["stride"], len(kernel)),
        padding=_each(padding, len(kernel)),
        dilation=dilation,
        groups=groups,
    )


def _each(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return numbers * count if len(numbers) == 1 else numbers


def _after(layer: LayerAtWork, edit: Edit) -> Iterator[LayerAtWork]:
    """Yields what an edit makes of a layer: itself, several, or nothing."""
    match edit:
        case Recode() if edit.parameter in (layer.parameter, *layer.names):
            yield replace(layer, form=form_of(edit.coding))
        case Cut():
            yield _cut(layer, edit)
        case Swap(spec=Identity() | Skipped()) if f"{layer.module}.".startswith(f"{edit.module}."):
            return
        case Swap(spec=LowRank() as spec) if edit.module == layer.module:
            middle = spec.rank
            yield _link(layer, 0, replace(layer.shape, outputs=middle), whole_width=False)
            yield _link(layer, 1, replace(layer.shape, inputs=middle), whole_width=False)
        case Swap(spec=Convolutions() as spec) if edit.module == layer.module:
            shape = layer.shape
            for i, stage in enumerate(spec.stages):
                shape = _stage(shape, stage)
                yield _link(layer, i, shape, whole_width=stage.groups > 1)
                shape = replace(shape, sizes=_reached(shape))
        case _:
            yield layer


def _link(layer: LayerAtWork, place: int, shape: LayerShape, *, whole_width: bool) -> LayerAtWork:
    """Returns one of the layers that took the place of another."""
    whole = shape if whole_width else replace(shape, inputs=_up(shape.inputs), outputs=_up(shape.outputs))
    module = f"{layer.module}.{place}"
    return replace(
        layer,
        parameter=f"{module}.weight",
        module=module,
        shape=shape,
        whole=whole,
        source=f"{layer.source}/{place}" if place else layer.source,
        form=FLOAT,
        names=(),
        link=place,
    )


def _up(width: int) -> int:
    """Returns the next power of two, so that layers of all ranks share the widths that are measured."""
    return 1 << (width - 1).bit_length()


def _stage(before: LayerShape, stage: Stage) -> LayerShape:
    outputs, inputs, *kernel = stage.weight.shape
    return LayerShape(
        kind="conv",
        inputs=inputs * stage.groups,
        outputs=outputs,
        sizes=before.sizes,
        kernel=tuple(kernel),
        stride=stage.stride,
        padding=stage.padding,
        dilation=stage.dilation,
        groups=stage.groups,
    )


def _reached(shape: LayerShape) -> tuple[int, ...]:
    """Returns the sizes of a convolution's output."""
    geometry = zip(shape.sizes[1:], shape.kernel, shape.stride, shape.padding, shape.dilation, strict=True)
    return (shape.sizes[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in geometry))


def _cut(layer: LayerAtWork, edit: Cut) -> LayerAtWork:
    kept = {part.dim: len(part.keep) for part in edit.slices if part.tensor in (layer.parameter, *layer.names)}
    if not kept:
        return layer
    rows, columns, *_ = layer.shape.weight[::-1] if layer.turned else layer.shape.weight
    rows, columns = kept.get(0, rows), kept.get(1, columns)
    shape, groups = layer.shape, layer.shape.groups
    if groups > 1:
        ends = (value for module, name, value in edit.attributes if (module, name) == (layer.module, "groups"))
        groups = next((value for value in ends if isinstance(value, int)), groups)
    if shape.kind == "conv_transpose":
        return replace(layer, shape=replace(shape, inputs=rows, outputs=columns * groups, groups=groups))
    if layer.turned:
        return replace(layer, shape=replace(shape, inputs=rows, outputs=columns))
    return replace(layer, shape=replace(shape, inputs=columns * groups, outputs=rows, groups=groups))


def _rounded(layer: LayerAtWork, layers: Sequence[LayerAtWork], sites: Collection[str]) -> LayerAtWork:
    """Returns a layer that knows what around it is rounded."""
    rounded_inputs = {other.call.op.node for other in layers if other.link == 0 and _input_rounded(other, sites)}
    chain = [other for other in layers if other.call is layer.call]
    later = chain[layer.link + 1 :]
    if later:
        output = f"{layer.module}:output" in sites or _input_rounded(later[0], sites)
    else:
        followers = (layer.module, layer.call.module, *(op.module for op in layer.call.chain))
        readers = [op.node for op in layer.call.consumers]
        output = any(f"{module}:output" in sites for module in followers)
        output = output or (bool(readers) and rounded_inputs.issuperset(readers))
    form = replace(layer.form, input_rounded=_input_rounded(layer, sites), output_rounded=output)
    return replace(layer, form=form)


def _input_rounded(layer: LayerAtWork, sites: Collection[str]) -> bool:
    return f"{layer.module}:input" in sites or (layer.link == 0 and f"{layer.call.module}:input" in sites)
