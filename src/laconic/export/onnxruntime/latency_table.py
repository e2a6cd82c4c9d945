"""How long layers take in ONNX Runtime on this machine: measured once, kept in a file, interpolated in between."""

from __future__ import annotations

import contextlib
import math
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Self, final

import onnxruntime
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from laconic.core.caches import cache_folder
from laconic.core.errors import ArtifactError
from laconic.core.files import json_text, read_bytes, sha256, write_text
from laconic.core.target import Target
from laconic.export.onnxruntime.kernels import INTEGER
from laconic.export.onnxruntime.layer import FLOAT, Form, LayerShape, layer_graph
from laconic.export.onnxruntime.layer_times import Times, operator_us, time_layers, yardstick
from laconic.measure import latency
from laconic.measure.record import RECORD

FORMAT = 1
STEPS = 8
"""Measured widths of a layer lie so many to its full width."""
ALIGNED = 8

Entry = tuple[LayerShape, Form]
Timer = Callable[[Mapping[Entry, bytes], int, float], Mapping[Entry, Times]]


@final
@dataclass(frozen=True, kw_only=True, config=RECORD)
class Machine:
    """What a time depends on besides the layer.

    Args:
        runtime: its name.
        version: of the runtime.
        cpu: its model.
        threads: inside operators.
    """

    runtime: str
    version: str
    cpu: str
    threads: int

    @classmethod
    def of(cls, target: Target) -> Self:
        """Returns this machine, used as the target says."""
        return cls(runtime=target.runtime, version=onnxruntime.__version__, cpu=cpu_model(), threads=target.threads)

    @property
    def file_name(self) -> str:
        """The name of a table's file: each machine has its own."""
        return f"latency-{sha256(repr(self).encode())[:16]}.json"


@final
@dataclass(frozen=True, kw_only=True, config=RECORD)
class _Content:
    """A table as a file."""

    format: int
    machine: Machine
    yardstick_us: float
    operator_us: float
    entries: tuple[tuple[LayerShape, Form, Times], ...]


@final
class LatencyTable:
    """Times of layers in a runtime; what is asked for and not there yet is measured.

    Args:
        machine: where its times hold.
        yardstick_us: what the yardstick takes on it; all times are for a machine at that pace.
        operator_us: what one more operator costs, however little it computes.
        entries: what was measured.
        path: the file; None: it is kept in memory alone.
        timer: times graphs on so many threads against a yardstick that usually takes so many microseconds.

    Guarantees:
        The file is whole at any time, whatever happens while it is written.
    """

    def __init__(
        self,
        *,
        machine: Machine,
        yardstick_us: float,
        operator_us: float,
        entries: dict[Entry, Times] | None = None,
        path: Path | None = None,
        timer: Timer = time_layers,
    ) -> None:
        self.machine = machine
        self.yardstick_us = yardstick_us
        self.operator_us = operator_us
        self.entries = dict(entries or {})
        self.path = path
        self._timer = timer
        self._refused: set[Entry] = set()

    @classmethod
    def open(cls, target: str | Target = "onnxruntime", folder: str | Path | None = None) -> Self:
        """Returns this machine's table, read if there is one; one that is damaged is begun anew.

        Args:
            target: the runtime and its threads.
            folder: where tables lie; None: the user's folder for caches.
        """
        machine = Machine.of(Target.parse(target))
        path = (cache_folder() if folder is None else Path(folder)) / machine.file_name
        if path.exists():
            with contextlib.suppress(ArtifactError):
                found = cls.load(path)
                if found.machine == machine:
                    return found
        table = cls(
            machine=machine,
            yardstick_us=_pace_us(machine.threads),
            operator_us=operator_us(machine.threads),
            path=path,
        )
        table.save()
        return table

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a table.

        Raises:
            ArtifactError: the file is missing, damaged, or of another version.
        """
        path = Path(path)
        try:
            content = TypeAdapter(_Content).validate_json(read_bytes(path))
        except ValidationError as error:
            raise ArtifactError(
                f"{path}: damaged, not a table of latencies ({error.errors()[0]['msg']}). Delete it; it is made anew."
            ) from error
        if content.format != FORMAT:
            raise ArtifactError(f"{path}: format {content.format}; this version reads {FORMAT}. Delete it.")
        return cls(
            machine=content.machine,
            yardstick_us=content.yardstick_us,
            operator_us=content.operator_us,
            entries={(shape, form): times for shape, form, times in content.entries},
            path=path,
        )

    def save(self) -> None:
        """Writes the table, if it has a file, together with what another process has added meanwhile.

        Raises:
            ArtifactError: it cannot be written.
        """
        if self.path is None:
            return
        with contextlib.suppress(ArtifactError):
            there = LatencyTable.load(self.path)
            if there.machine == self.machine and there.yardstick_us == self.yardstick_us:
                self.entries = {**there.entries, **self.entries}
        content = _Content(
            format=FORMAT,
            machine=self.machine,
            yardstick_us=self.yardstick_us,
            operator_us=self.operator_us,
            entries=tuple((shape, form, times) for (shape, form), times in self.entries.items()),
        )
        write_text(self.path, json_text(TypeAdapter(_Content).dump_python(content, mode="json")))

    def measure(self, wanted: Iterable[Entry]) -> None:
        """Times layers that are not in the table yet, and saves it.

        Raises:
            ExportError: the runtime refuses a layer.
        """
        graphs = {}
        for shape, form in wanted:
            entry = (shape, self.runs_as(shape, form))
            if entry not in self.entries and entry not in graphs:
                graphs[entry] = layer_graph(*entry)[0]
        if graphs:
            self.entries |= self._timer(graphs, self.machine.threads, self.yardstick_us)
            self.save()

    def times(self, shape: LayerShape, form: Form = FLOAT) -> Times:
        """Returns the times of a layer, measured if they are not known."""
        self.measure([(shape, form)])
        return self.entries[shape, self.runs_as(shape, form)]

    def between(self, shape: LayerShape, form: Form, whole: LayerShape) -> Times:
        """Returns the times of a layer that is narrower than another, from widths measured in eighths of that one.

        Args:
            shape: as `whole` but for its channels.
            form: of both.
            whole: the layer at its full width.
        """
        corners = dict(corners_of(shape, whole))
        return _blend([(self.times(corner, form), share) for corner, share in corners.items()])

    def measure_between(self, wanted: Iterable[tuple[LayerShape, Form, LayerShape]]) -> None:
        """Times all that `between` needs for some layers, in one go."""
        entries = [(corner, form) for shape, form, whole in wanted for corner, _ in corners_of(shape, whole)]
        self.measure(dict.fromkeys(entries))

    def runs_as(self, shape: LayerShape, form: Form) -> Form:
        """Returns the form that stands for all that the runtime treats alike.

        Weights that no integer kernel reads are decoded when a model is loaded, so they take the time of float ones.
        """
        decoded = replace(FLOAT, input_rounded=form.input_rounded, output_rounded=form.output_rounded)
        if form.weight != "grid" or not form.input_rounded:
            return decoded
        integer = replace(form, bits=8)
        if (shape, integer) in self.entries:
            return integer
        if (shape, decoded) in self.entries and (shape, integer) in self._refused:
            return decoded
        kernels = layer_graph(shape, integer)[1]
        if set(kernels.split(", ")) <= set(INTEGER):
            return integer
        self._refused.add((shape, integer))
        return decoded


def corners_of(shape: LayerShape, whole: LayerShape) -> list[tuple[LayerShape, float]]:
    """Returns the measured widths around a layer, and how much each counts: the counts add up to one."""
    if shape.groups > 1:
        per_group = shape.inputs // shape.groups, shape.outputs // shape.groups
        return [
            (replace(shape, inputs=n * per_group[0], outputs=n * per_group[1], groups=n), share)
            for n, share in _around(shape.groups, whole.groups)
        ]
    return [
        (replace(shape, inputs=inputs, outputs=outputs), first * second)
        for (inputs, first), (outputs, second) in product(
            _around(shape.inputs, whole.inputs), _around(shape.outputs, whole.outputs)
        )
    ]


def cpu_model() -> str:
    """Returns the processor's name, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@cache
def _around(width: int, whole: int) -> tuple[tuple[int, float], ...]:
    """Returns the one or two measured widths next to a width, with their shares.

    Kernels are made for multiples of 4, 8 or 16 channels and fall back to others elsewhere, so a width is only compared
    with such as are divisible by the same.
    """
    if width >= whole:
        return ((width, 1.0),)
    alike = [n for n in range(1, whole + 1) if math.gcd(n, ALIGNED) == math.gcd(width, ALIGNED)]
    step = max(1, whole // STEPS)
    grid = sorted({next((n for n in alike if n >= start), alike[-1]) for start in range(1, whole + 1, step)})
    low = max((n for n in grid if n <= width), default=width)
    high = min((n for n in grid if n >= width), default=width)
    if low == high:
        return ((low, 1.0),)
    return (low, (high - width) / (high - low)), (high, (width - low) / (high - low))


def _blend(parts: list[tuple[Times, float]]) -> Times:
    nearest = max(parts, key=lambda part: part[1])[0]
    return replace(
        nearest,
        inside_us=sum(times.inside_us * share for times, share in parts),
        low_us=sum(times.low_us * share for times, share in parts),
        high_us=sum(times.high_us * share for times, share in parts),
        before_us=sum(times.before_us * share for times, share in parts),
        after_us=sum(times.after_us * share for times, share in parts),
        moving_us=sum(times.moving_us * share for times, share in parts),
    )


def _pace_us(threads: int) -> float:
    session, arrays = yardstick(threads)
    found = latency({"yardstick": lambda: session.run(arrays)}, repeats=200, seconds=2.0)
    return found["yardstick"].median_ms * 1e3
