"""What layers take where they stand: inside them, and to bring values into the form in which they want them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from laconic.export.onnxruntime.latency_table import LatencyTable
from laconic.export.onnxruntime.layer import FLOAT
from laconic.export.onnxruntime.layer_times import Times
from laconic.select.layers_at_work import LayerAtWork


@final
@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Microseconds of one layer, at the table's pace.

    Args:
        kind: of the kernel that multiplies.
        inside: of the operators that compute.
        around: of rounding, and of moving channels to where the kernel wants them.
        spread: between the quartiles of what was measured inside.
    """

    kind: Literal["float", "integer"]
    inside: float
    around: float
    spread: float


def layer_costs(layers: Sequence[LayerAtWork], table: LatencyTable) -> list[LayerCost]:
    """Returns the cost of each layer among the others.

    Integer kernels hand codes to each other; where codes meet floats they are rounded or decoded. Float kernels of
    convolutions hand channels to each other in an order of their own; where anything else reads or writes them, they
    are moved. Layers that are not in the table are measured first.
    """
    forms = [(layer, form) for layer in layers for form in (layer.form, FLOAT)]
    table.measure_between((layer.shape, form, layer.whole) for layer, form in forms)
    line = _Line(layers, table)
    return [line.cost(layer) for layer in layers]


class _Line:
    """Which layer follows which, and with what kernel."""

    def __init__(self, layers: Sequence[LayerAtWork], table: LatencyTable) -> None:
        self._table = table
        self._chains: dict[str, list[LayerAtWork]] = {}
        for layer in layers:
            self._chains.setdefault(layer.call.op.node, []).append(layer)
        self._integer = {self._key(layer): self._is_integer(layer) for layer in layers}
        self._before = {
            op.node: chain[-1] for chain in self._chains.values() for op in chain[-1].call.consumers if op.parameter
        }
        self._rounded: set[str] = set()

    def cost(self, layer: LayerAtWork) -> LayerCost:
        """Returns one layer's cost; of several that round the same input, the first pays."""
        times, plain = self._times(layer), self._times(replace(layer, form=FLOAT))
        integer = self._integer[self._key(layer)]
        around = self._table.operator_us * (times.operators - (0 if layer.link else plain.operators))
        around += self._rounding(layer, times)
        if not integer:
            around += self._moving(layer) * plain.moving_us / 2
        return LayerCost(
            kind="integer" if integer else "float",
            inside=times.inside_us,
            around=around,
            spread=times.high_us - times.low_us,
        )

    def _rounding(self, layer: LayerAtWork, times: Times) -> float:
        found, before = 0.0, self._producer(layer)
        given_codes = before is not None and self._integer[self._key(before)] and before.form.output_rounded
        if layer.form.input_rounded and not given_codes and layer.source not in self._rounded:
            self._rounded.add(layer.source)
            found += times.before_us
        gives_codes = self._integer[self._key(layer)] and layer.form.output_rounded
        readers = self._readers(layer)
        if gives_codes and not (readers and all(one is not None and self._integer[self._key(one)] for one in readers)):
            found += times.after_us
        return found

    def _moving(self, layer: LayerAtWork) -> int:
        """Returns how often channels are moved: before a float convolution, behind it, or not at all."""
        before, readers = self._producer(layer), self._readers(layer)
        sides = [[before], readers or [None]]
        among = sum(not all(self._is_float_convolution(one) for one in side) for side in sides)
        return among + 2 * layer.form.input_rounded  # among integer kernels they lie in a third order

    def _producer(self, layer: LayerAtWork) -> LayerAtWork | None:
        if layer.link:
            return self._chains[layer.call.op.node][layer.link - 1]
        return self._before.get(layer.call.op.node)

    def _readers(self, layer: LayerAtWork) -> list[LayerAtWork | None]:
        chain = self._chains[layer.call.op.node]
        if chain[-1] is not layer:
            return [chain[layer.link + 1]]
        return [self._chains.get(op.node, [None])[0] for op in layer.call.consumers]

    def _is_float_convolution(self, layer: LayerAtWork | None) -> bool:
        return layer is not None and layer.shape.kind == "conv" and not self._integer[self._key(layer)]

    def _is_integer(self, layer: LayerAtWork) -> bool:
        rounded = layer.form.input_rounded and (layer.shape.kind == "linear" or layer.form.output_rounded)
        return rounded and self._table.runs_as(layer.shape, layer.form).weight == "grid"

    def _times(self, layer: LayerAtWork) -> Times:
        return self._table.between(layer.shape, layer.form, layer.whole)

    @staticmethod
    def _key(layer: LayerAtWork) -> tuple[str, int]:
        return layer.call.op.node, layer.link


def total(costs: Iterable[LayerCost], kind: str) -> float:
    """Returns the microseconds inside all layers of a kind."""
    return sum(cost.inside for cost in costs if cost.kind == kind)
