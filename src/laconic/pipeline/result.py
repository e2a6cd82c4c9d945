"""What a compression gives back, and how it is put on disk."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from laconic.core.budget import Miss
from laconic.core.errors import ExportError
from laconic.core.files import read_bytes, read_json, write_bytes
from laconic.core.folders import check_replaceable, replacing
from laconic.core.plan import Plan
from laconic.core.state import load_state
from laconic.export.artifact import Vectors, write_artifact
from laconic.export.onnxruntime import Session
from laconic.export.onnxruntime.any_size import FACTORS
from laconic.export.onnxruntime.builder import Array
from laconic.graph.fixed import resized
from laconic.graph.sizes import Sizes, names_in, sizes_of
from laconic.measure import Figures
from laconic.measure.runner import to_array, to_tensor
from laconic.pipeline.attempt import MODEL, Course, finished_state
from laconic.pipeline.figures import samples
from laconic.pipeline.job import Job
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.story import tell
from laconic.pipeline.workspace import Workspace
from laconic.report import Report, write_report

RESULT, ARTIFACT = "result", "artifact"
PARTS = (ARTIFACT, "report.html", "report.md", "report.json")
VECTOR_SAMPLES = 4
PACKAGES = ("laconic", "torch", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A compressed model with its evidence.

    Args:
        model: the compressed PyTorch model, in eval mode.
        plan: what was done to it.
        report: everything that was measured.
        misses: limits that it does not meet.
        folder: the artifact and the report; temporary unless a work folder was given, so `save` what is to stay.
    """

    model: nn.Module
    plan: Plan
    report: Report
    misses: tuple[Miss, ...]
    folder: Path

    def __str__(self) -> str:
        """What the report says in short."""
        return str(self.report)

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return not self.misses

    def save(self, folder: str | Path) -> Path:
        """Copies the artifact and the report to a folder, whole or not at all; an older result there is replaced.

        Returns:
            The folder: `artifact/`, `report.html`, `report.md`, `report.json`.

        Raises:
            ArtifactError: the disk is full, or the folder cannot be written or holds something else.
        """
        folder = Path(folder)
        with replacing(folder, PARTS) as fresh:
            for source in (path for part in PARTS for path in _files(self.folder / part)):
                write_bytes(fresh / source.relative_to(self.folder), read_bytes(source))
        return folder

    @staticmethod
    def check_place(folder: str | Path) -> None:
        """Refuses what `save` would refuse, before there is a result that could be lost.

        Raises:
            ArtifactError: the folder cannot be written or holds something else.
        """
        check_replaceable(Path(folder), PARTS)


def _files(part: Path) -> Sequence[Path]:
    return sorted(part.iterdir()) if part.is_dir() else [part]


def finish(job: Job, workspace: Workspace, course: Course) -> Result:
    """Writes the artifact and the report of the winning attempt and returns the result."""
    winner = course.winner
    model, plan = load_state(finished_state(winner.folder), job.model)
    folder = workspace.stage(RESULT, partial(_write, job, course, model, plan, workspace))
    report = Report.from_json(read_json(folder / "report.json"))
    return Result(model=model, plan=plan, report=report, misses=winner.outcome.misses, folder=folder)


def _write(job: Job, course: Course, model: nn.Module, plan: Plan, workspace: Workspace, folder: Path) -> None:
    winner = course.winner
    state = finished_state(winner.folder)
    facts = dict(_facts())
    kernels = Kernels.load(state)
    report = tell(job, course, model, plan, kernels=kernels, facts=tuple(facts.items()), seconds=workspace.seconds())
    write_report(report, folder)
    write_artifact(
        folder / ARTIFACT,
        model=state / MODEL,
        network=model,
        plan=plan,
        vectors=_vectors(job, state / MODEL, kernels),
        facts={
            "versions": facts,
            "budget": job.budget.config(),
            "met": not winner.outcome.misses,
            "target": str(job.target),
            "kernels": dict(kernels.kernels),
            "sizes": {
                "dynamic": {n: {str(d): size for d, size in dims.items()} for n, dims in kernels.dynamic.items()},
                "largest": dict(kernels.largest),
                "fixed": {**job.fixed, **kernels.fixed},
            },
            "measured": {"original": _brief(winner.original), "compressed": _brief(winner.figures)},
        },
    )


def _brief(figures: Figures) -> dict[str, Any]:
    """The figures without the single samples of a latency, of which the report has all."""
    content = figures.to_json()
    for one in content["latency"].values():
        one["samples"] = len(one.pop("samples_ms"))
    return content


def _vectors(job: Job, model: Path, kernels: Kernels) -> Vectors:
    session = Session(model)
    inputs = samples(job, VECTOR_SAMPLES if kernels.any_batch else job.target.batch_size)
    sizes = sizes_of(job.model, replace(job.task, dynamic=kernels.dynamic), job.example())
    others = _elsewhere(session, inputs, sizes) if sizes else iter(())
    return Vectors(inputs=inputs, output=session.run(inputs), other=next(others, None))


def _elsewhere(session: Session, inputs: Sequence[Array], sizes: Sizes) -> Iterator[Vectors]:
    """Yields what the model answers at other sizes, where it takes them."""
    for factor in FACTORS:
        other = resized([to_tensor(x) for x in inputs], sizes, dict.fromkeys(names_in(sizes), factor))
        arrays = [to_array(x) for x in other]
        with suppress(ExportError):
            yield Vectors(inputs=arrays, output=session.run(arrays))


def _facts() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for package in PACKAGES:
        yield package, version(package)
    yield "machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
