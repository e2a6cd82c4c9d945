"""How long small graphs take in ONNX Runtime, operator by operator, against one that never changes."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, final

import numpy as np
import onnxruntime
from pydantic.dataclasses import dataclass

from laconic.export.onnxruntime.layer import FLOAT, LayerShape, layer_graph
from laconic.export.onnxruntime.session import PROVIDERS, Array, Session, options
from laconic.measure.record import RECORD

YARDSTICK = LayerShape(kind="linear", inputs=256, outputs=512, sizes=(128,))
"""What everything is timed against, so that a machine that slows down changes no ratio."""
AROUND = frozenset({"QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput"})
"""Operators that only bring values into the form in which a layer wants them."""
ROUNDS, FEWEST_ROUNDS, SECONDS = 40, 6, 1.0
LARGEST_GROUP, GROUP_BYTES = 64, 2**28

Name = TypeVar("Name", bound=Hashable)


@final
@dataclass(frozen=True, kw_only=True, config=RECORD)
class Times:
    """Time of one layer, in microseconds on a machine on which the yardstick takes its usual time.

    Args:
        inside_us: of the operators that compute; without the outer quarters of the samples, the mean.
        low_us: lower quartile.
        high_us: upper quartile.
        before_us: of operators that bring the input into shape: rounding it, moving channels.
        after_us: the same of the output.
        operators: how many compute.
        before: how many stand before those.
        after: how many stand behind them.
    """

    inside_us: float
    low_us: float
    high_us: float
    before_us: float
    after_us: float
    operators: int
    before: int
    after: int


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
    for names in _groups(graphs):
        found |= _timed({name: graphs[name] for name in names}, threads, yardstick_us)
    return found


def yardstick(threads: int) -> tuple[Session, list[Array]]:
    """Returns the graph that never changes, loaded, and its input."""
    return Session(layer_graph(YARDSTICK, FLOAT)[0], threads=threads), [_input(YARDSTICK.input)]


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


def _timed(graphs: Mapping[Name, bytes], threads: int, usual_us: float) -> dict[Name, Times]:
    with tempfile.TemporaryDirectory() as folder:
        profiled = {
            name: _Profiled(graph, threads, Path(folder) / str(i)) for i, (name, graph) in enumerate(graphs.items())
        }
        session, arrays = yardstick(threads)
        session.run(arrays)
        paces: list[float] = []
        order = random.Random(0)
        for turn in range(ROUNDS):
            for one in order.sample(list(profiled.values()), len(profiled)):
                one.take(turn)
            session.run(arrays)
            start = time.perf_counter()
            session.run(arrays)
            paces.append(time.perf_counter() - start)
        scale = usual_us / (_middle(paces) * 1e6)
        return {name: _summary(one.runs(), scale) for name, one in profiled.items()}


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


def _summary(runs: Sequence[Sequence[tuple[str, float]]], scale: float) -> Times:
    kinds = [op for op, _ in runs[0]]
    inner = [i for i, op in enumerate(kinds) if op not in AROUND] or [0]
    table = np.array([[us for _, us in run] for run in runs]) * scale
    inside = table[:, inner].sum(1)
    low, high = np.quantile(inside, (0.25, 0.75))
    before = [i for i in range(inner[0]) if i not in inner]
    after = [i for i in range(inner[0], len(kinds)) if i not in inner]
    return Times(
        inside_us=_middle(inside.tolist()),
        low_us=float(low),
        high_us=float(high),
        before_us=sum(_middle(table[:, i].tolist()) for i in before),
        after_us=sum(_middle(table[:, i].tolist()) for i in after),
        operators=len(inner),
        before=len(before),
        after=len(after),
    )


def _middle(values: Sequence[float]) -> float:
    """Returns the mean without the outer quarters: a median would keep the microsecond steps of the record's clock."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def _input(size: Sequence[int]) -> Array:
    values: Array = np.random.default_rng(0).standard_normal(tuple(size), dtype=np.float32)
    return values
