"""How long small graphs take in ONNX Runtime, operator by operator, against one that never changes."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, final

import numpy as np
import onnx_ir as ir
import onnxruntime
from pydantic.dataclasses import dataclass

from laconic.export.onnxruntime.capture import OPSET
from laconic.export.onnxruntime.layer import FLOAT, LayerShape, layer_graph
from laconic.export.onnxruntime.session import PROVIDERS, Array, Session, options
from laconic.measure.record import RECORD

YARDSTICK = LayerShape(kind="linear", inputs=256, outputs=512, sizes=(128,))
"""What everything is timed against, so that a machine that slows down changes no ratio."""
ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
MOVING = frozenset({"Transpose", "ReorderInput", "ReorderOutput"})
"""Operators that only bring values into the form in which a layer wants them."""
ROUNDS, FEWEST_ROUNDS, SECONDS = 40, 6, 1.0
LARGEST_GROUP, GROUP_BYTES = 64, 2**28
CHAIN, CHAIN_ROUNDS = 64, 200

Name = TypeVar("Name", bound=Hashable)


@final
@dataclass(frozen=True, kw_only=True, config=RECORD)
class Times:
    """Time of one layer, in microseconds on a machine on which the yardstick takes its usual time.

    Args:
        inside_us: of the operators that compute.
        low_us: lower quartile.
        high_us: upper quartile.
        before_us: of operators that round the input, or make codes numbers again.
        after_us: the same of the output.
        moving_us: of operators that move channels to where the kernel wants them, and back.
        operators: how many compute.
    """

    inside_us: float
    low_us: float
    high_us: float
    before_us: float
    after_us: float
    moving_us: float
    operators: int


def time_layers(graphs: Mapping[Name, bytes], threads: int, yardstick_us: float) -> dict[Name, Times]:
    """Times graphs by the runtime's own profile, each of one input, in turns and in an order shuffled anew.

    Args:
        graphs: ONNX files by any name.
        threads: inside operators.
        yardstick_us: what the yardstick usually takes; all times are for a machine on which it does.

    Returns:
        The same names.
    """
    found: dict[Name, Times] = {}
    lone_us = operator_us(threads)
    for names in _groups(graphs):
        found |= _timed({name: graphs[name] for name in names}, threads, yardstick_us, lone_us)
    return found


def yardstick(threads: int) -> tuple[Session, list[Array]]:
    """Returns the graph that never changes, loaded, and its input."""
    return Session(layer_graph(YARDSTICK, FLOAT)[0], threads=threads), [_input(YARDSTICK.input)]


def operator_us(threads: int) -> float:
    """Returns what each of many operators on a single number takes."""
    sessions = {count: Session(_chain(count), threads=threads) for count in (1, 1 + CHAIN)}
    arrays = [np.zeros(1, np.float32)]
    samples = []
    for _ in range(CHAIN_ROUNDS):
        seconds = {}
        for count, session in sessions.items():
            session.run(arrays)
            start = time.perf_counter()
            session.run(arrays)
            seconds[count] = time.perf_counter() - start
        samples.append((seconds[1 + CHAIN] - seconds[1]) / CHAIN)
    return statistics.median(samples) * 1e6


def _groups(graphs: Mapping[Name, bytes]) -> Iterator[list[Name]]:
    """Yields names such that not too many graphs are loaded at once."""
    group: list[Name] = []
    held = 0
    for name, content in graphs.items():
        if group and (len(group) == LARGEST_GROUP or held + len(content) > GROUP_BYTES):
            yield group
            group, held = [], 0
        group.append(name)
        held += len(content)
    if group:
        yield group


def _timed(graphs: Mapping[Name, bytes], threads: int, usual_us: float, lone_us: float) -> dict[Name, Times]:
    with tempfile.TemporaryDirectory() as folder:
        profiled = {
            name: _Profiled(graph, threads, Path(folder) / str(i)) for i, (name, graph) in enumerate(graphs.items())
        }
        chain = _Profiled(_chain(CHAIN), threads, Path(folder) / "chain")
        session, arrays = yardstick(threads)
        session.run(arrays)
        paces: list[float] = []
        order = random.Random(0)
        for turn in range(ROUNDS):
            for one in order.sample([chain, *profiled.values()], len(profiled) + 1):
                one.take(turn)
            session.run(arrays)
            start = time.perf_counter()
            session.run(arrays)
            paces.append(time.perf_counter() - start)
        scale = usual_us / (_middle(paces) * 1e6)
        # Keeping the record takes about a microsecond an operator, which a chain of operators that do nothing shows.
        recording_us = max(0.0, _middle([us for run in chain.runs() for _, us in run]) - lone_us)
        return {name: _summary(one.runs(), recording_us, scale) for name, one in profiled.items()}


class _Profiled:
    """A session that keeps a record of its operators."""

    def __init__(self, graph: bytes, threads: int, prefix: Path) -> None:
        chosen = options(threads)
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(prefix)
        self._session = onnxruntime.InferenceSession(graph, chosen, providers=PROVIDERS)
        source = self._session.get_inputs()[0]
        self._feed = {source.name: _input(source.shape)}
        start = time.perf_counter()
        self._session.run(None, self._feed)
        self._session.run(None, self._feed)
        self._turns = max(FEWEST_ROUNDS, min(ROUNDS, int(SECONDS / (time.perf_counter() - start))))

    def take(self, turn: int) -> None:
        """Runs once to warm the caches and once for the record, unless it has had its time."""
        if turn < self._turns:
            self._session.run(None, self._feed)
            self._session.run(None, self._feed)

    def runs(self) -> list[list[tuple[str, float]]]:
        """Returns `(operator, microseconds)` of each run that counts, and ends the record."""
        events = json.loads(Path(self._session.end_profiling()).read_text())
        found: list[list[tuple[str, float]]] = [[]]
        for event in events:
            if event["name"] == "model_run":
                found.append([])
            elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                found[-1].append((event["args"]["op_name"], float(event["dur"])))
        return found[3:-1:2]


def _summary(runs: Sequence[Sequence[tuple[str, float]]], recording_us: float, scale: float) -> Times:
    kinds = [op for op, _ in runs[0]]
    inner = [i for i, op in enumerate(kinds) if op not in ROUNDING | MOVING] or [0]
    table = (np.array([[us for _, us in run] for run in runs]) - recording_us) * scale
    inside = table[:, inner].sum(1)
    low, high = np.quantile(inside, (0.25, 0.75))

    def total(places: Iterable[int]) -> float:
        return sum(max(0.0, _middle(table[:, i].tolist())) for i in places)

    return Times(
        inside_us=max(0.0, _middle(inside.tolist())),
        low_us=max(0.0, float(low)),
        high_us=max(0.0, float(high)),
        before_us=total(i for i in range(inner[0]) if kinds[i] in ROUNDING),
        after_us=total(i for i in range(inner[0], len(kinds)) if kinds[i] in ROUNDING),
        moving_us=total(i for i, op in enumerate(kinds) if op in MOVING),
        operators=len(inner),
    )


def _middle(values: Sequence[float]) -> float:
    """Returns the mean of the quicker half, the very quickest aside.

    What else runs on a machine only ever slows it down; and a median would keep the steps of the record's clock.
    """
    ordered = sorted(values)
    kept = ordered[len(ordered) // 10 : max(1, len(ordered) // 2)]
    return statistics.fmean(kept or ordered)


def _input(size: Sequence[int]) -> Array:
    values: Array = np.random.default_rng(0).standard_normal(tuple(size), dtype=np.float32)
    return values


def _chain(count: int) -> bytes:
    value = start = ir.Value(name="x", shape=ir.Shape((1,)), type=ir.TensorType(ir.DataType.FLOAT))
    nodes = []
    for _ in range(count):
        nodes.append(ir.node("Tanh", [value]))
        value = nodes[-1].outputs[0]
    value.name, value.type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([start], [value], nodes=nodes, opset_imports={"": OPSET}, name="chain")
    content: bytes = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    return content
