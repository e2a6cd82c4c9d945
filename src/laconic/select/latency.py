"""How long a plan will take on the target, before it is carried out."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime import Session, export
from laconic.export.onnxruntime.latency_table import LatencyTable
from laconic.export.onnxruntime.layer_times import yardstick
from laconic.graph import Graph, capture
from laconic.graph.liveness import shares_memory
from laconic.graph.operators import PASSING, RESHAPING, name_of
from laconic.measure import latency, ratio
from laconic.select.layer_costs import LayerCost, layer_costs, total
from laconic.select.layers_at_work import LayerAtWork, changed, layers_at_work

PARTS = ("other", "float", "integer", "around")
DRAWN = 0.02
"""How strongly the corrections are drawn to one; a measured plan that is wrong by a tenth counts 0.01."""
ROUNDS, SECONDS = 100, 15.0


@final
@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The time of one inference.

    Args:
        milliseconds: predicted, on a machine as fast as it was when the original was measured.
        low: lower end of what is to be expected.
        high: upper end.
        by_layer: weight -> milliseconds of its layer, rounding its input included.
        other: milliseconds of all that is no layer.
        original: measured milliseconds of the original.
        ratio_error: by which factor predictions of measured plans were off, as the root mean square of its logarithm,
            each plan predicted from the others; None: no plan was measured.
    """

    milliseconds: float
    low: float
    high: float
    by_layer: Mapping[str, float]
    other: float
    original: float
    ratio_error: float | None

    @property
    def ratio(self) -> float:
        """Predicted over measured time of the original."""
        return self.milliseconds / self.original

    def __str__(self) -> str:
        checked = (
            "not checked against any changed model"
            if self.ratio_error is None
            else f"off by {self.ratio_error:.1%} on measured plans"
        )
        span = f"{self.low:.3g} to {self.high:.3g}"
        return f"{self.milliseconds:.3g} ms ({span}), {self.ratio:.2f} of the original; {checked}"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LatencyModel:
    """Predicts plans of one model on one target; made by `latency_model`.

    Args:
        layers: of the original.
        table: times of layers.
        original_us: of the whole original, at the table's pace.
        fixed_us: of all that is no layer, the part that does not become less with fewer channels.
        pace: how much slower the machine was than the table's.
        corrections: factor on each of `PARTS`.
        ratio_error: as in `Prediction`.
    """

    layers: tuple[LayerAtWork, ...]
    table: LatencyTable
    original_us: float
    fixed_us: float
    pace: float = 1.0
    corrections: tuple[float, ...] = (1.0,) * len(PARTS)
    ratio_error: float | None = None

    @property
    def original_ms(self) -> float:
        """Measured milliseconds of the original."""
        return self.original_us * self.pace / 1e3

    def predict(self, plan: Plan) -> Prediction:
        """Returns the time of the model under a plan. Layers of new shapes are measured first, which takes a moment."""
        left = changed(self.layers, plan)
        costs = layer_costs(left, self.table)
        parts = self._parts(left, costs)
        us = float(np.dot(parts, self.corrections))
        spread = math.sqrt(sum(cost.spread**2 for cost in costs))
        factor = math.exp(2 * self.ratio_error) if self.ratio_error is not None else 1 + spread / us
        by_layer: dict[str, float] = {}
        for layer, cost in zip(left, costs, strict=True):
            own = cost.inside * self.corrections[PARTS.index(cost.kind)] + cost.around * self.corrections[3]
            by_layer[layer.parameter] = by_layer.get(layer.parameter, 0.0) + own * self.pace / 1e3
        milliseconds = us * self.pace / 1e3
        return Prediction(
            milliseconds=milliseconds,
            low=milliseconds / factor,
            high=milliseconds * factor,
            by_layer=by_layer,
            other=parts[0] * self.corrections[0] * self.pace / 1e3,
            original=self.original_ms,
            ratio_error=self.ratio_error,
        )

    def parts(self, plan: Plan) -> NDArray[np.float64]:
        """Returns the microseconds of each of `PARTS`, not corrected, at the table's pace."""
        left = changed(self.layers, plan)
        return self._parts(left, layer_costs(left, self.table))

    def _parts(self, left: Sequence[LayerAtWork], costs: Sequence[LayerCost]) -> NDArray[np.float64]:
        inside = [total(costs, kind) for kind in ("float", "integer")]
        return np.array([self._other_us(left), *inside, sum(cost.around for cost in costs)])

    def corrected(self, measured: Sequence[tuple[Plan, float]]) -> LatencyModel:
        """Returns a model whose parts are scaled such that measured plans come out right, as nearly as they can.

        Args:
            measured: plans with their time over that of the original.
        """
        if not measured:
            return replace(self, corrections=_fitted([self.parts(Plan())], [self.original_us]), ratio_error=None)
        rows = [self.parts(Plan()), *(self.parts(plan) for plan, _ in measured)]
        times = [self.original_us, *(ratio * self.original_us for _, ratio in measured)]
        errors = []
        for left_out in range(1, len(rows)):
            kept = [i for i in range(len(rows)) if i != left_out]
            fitted = _fitted([rows[i] for i in kept], [times[i] for i in kept])
            errors.append(math.log(float(rows[left_out] @ fitted) / times[left_out]))
        error = math.sqrt(sum(e**2 for e in errors) / len(errors))
        return replace(self, corrections=_fitted(rows, times), ratio_error=error)

    def _other_us(self, layers: Sequence[LayerAtWork]) -> float:
        """Returns the time of all that is no layer: with fewer channels, and fewer layers, there is less of it."""
        whole = sum(cost.inside + cost.around for cost in layer_costs(self.layers, self.table))
        other = max(self.original_us - whole, 0.0)
        fixed = min(self.fixed_us, other)
        calls = len({layer.call.op.node for layer in layers}) / len(self.layers)
        ends = {layer.call.op.node: layer for layer in layers}
        numbers = sum(_outputs(layer) for layer in ends.values()) / sum(_outputs(layer) for layer in self.layers)
        return fixed * calls + (other - fixed) * numbers


def latency_model(
    model: nn.Module,
    task: Task,
    *,
    target: str | Target = "onnxruntime",
    table: LatencyTable | None = None,
    plans: Sequence[Plan] = (),
    graph: Graph | None = None,
) -> LatencyModel:
    """Measures a model once on the target, so that the time of any plan can be predicted.

    The time of a plan is the sum over its layers, as measured one by one in the runtime, and of all that is no layer:
    what the whole original takes beyond its layers, less where channels go. Each kind of part is then scaled such that
    the original, and the plans that are given, come out as measured.

    Args:
        model: the original.
        task: its evaluation data gives an example; how to call the model and where its logits are.
        target: the runtime, its threads and its batch size.
        table: times of layers; None: that of this machine.
        plans: a few that are exported and measured beside the original, to check and to correct the predictions.
        graph: of an earlier `capture`.

    Raises:
        ExportError: the model cannot be exported, or the runtime refuses it.
    """
    target = Target.parse(target)
    table = table or LatencyTable.open(target)
    batch = _example(task, target.batch_size)
    graph = graph or capture(model, batch.args, batch.kwargs)
    layers = layers_at_work(graph, target.batch_size)
    times, pace = _measured(model, task, batch, target, plans, table)
    found = LatencyModel(
        layers=layers,
        table=table,
        original_us=times[0],
        fixed_us=_operators(graph, layers) * table.operator_us,
        pace=pace,
    )
    return found.corrected([(plan, us / times[0]) for plan, us in zip(plans, times[1:], strict=True)])


def predict_latency(
    model: nn.Module,
    plan: Plan,
    task: Task,
    *,
    target: str | Target = "onnxruntime",
    table: LatencyTable | None = None,
    check: Sequence[Plan] = (),
) -> Prediction:
    """Predicts the time of one plan on the target; for several plans make a `latency_model` once.

    Args:
        model: the original.
        plan: what would be done to it.
        task: gives an example.
        target: the runtime, its threads and its batch size.
        table: times of layers; None: that of this machine.
        check: plans that are measured to check and correct the prediction.
    """
    return latency_model(model, task, target=target, table=table, plans=check).predict(plan)


def _example(task: Task, size: int) -> Batch:
    batch = next(task.batches("evaluate"))
    return batch.first(size) if batch.size >= size else batch


def _measured(
    model: nn.Module, task: Task, batch: Batch, target: Target, plans: Sequence[Plan], table: LatencyTable
) -> tuple[list[float], float]:
    """Returns the microseconds of the original and of plans at the table's pace, and how much slower it was."""
    arrays = [tensor.numpy() for tensor in batch.inputs]
    pace_session, pace_arrays = yardstick(target.threads)
    with tempfile.TemporaryDirectory() as folder:
        sessions = []
        for i, plan in enumerate((Plan(), *plans)):
            found = export(apply(model, plan), plan, task, batch, Path(folder) / f"{i}.onnx")
            sessions.append(Session(found.path, threads=target.threads))
        calls = {str(i): _call(session, arrays) for i, session in enumerate(sessions)}
        timed = latency({**calls, "pace": _call(pace_session, pace_arrays)}, repeats=ROUNDS, seconds=SECONDS)
    # Whole models and the yardstick had their turns in the same rounds: what slowed one down slowed down the other.
    times = [ratio(timed[str(i)], timed["pace"]).value * table.yardstick_us for i in range(len(sessions))]
    return times, timed["pace"].median_ms * 1e3 / table.yardstick_us


def _call(session: Session, arrays: Sequence[NDArray[Any]]) -> Callable[[], object]:
    return lambda: session.run(arrays)


def _operators(graph: Graph, layers: Sequence[LayerAtWork]) -> int:
    """Returns how many operators are no layer and cannot be left out when a model is loaded."""
    own = {op.node for layer in layers for op in (layer.call.op, *layer.call.chain)}
    return sum(
        node.op == "call_function"
        and node.name not in own
        and isinstance(node.meta.get("val"), Tensor)
        and name_of(node) not in RESHAPING | PASSING
        and not shares_memory(node)
        for node in graph.nodes
    )


def _outputs(layer: LayerAtWork) -> int:
    """Returns how many numbers come out of a layer, those of a convolution counted at its input's places."""
    return layer.shape.outputs * math.prod(layer.shape.sizes) // math.prod(layer.shape.stride)


def _fitted(rows: Sequence[NDArray[np.float64]], times: Sequence[float]) -> tuple[float, ...]:
    """Returns the factors on the parts, near one, with which the rows' relative errors are least."""
    shares = np.array(rows) / np.array(times)[:, None]
    size = len(PARTS)
    gram = shares.T @ shares + DRAWN * np.eye(size)
    factors = np.linalg.solve(gram, shares.sum(0) + DRAWN * np.ones(size))
    return tuple(float(factor) for factor in np.clip(factors, 0.2, 5.0))
