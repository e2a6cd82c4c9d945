"""What is known before anything is tried: the original's figures, what its layers see, and what each way would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from laconic.calibrate import Evidence, calibrate
from laconic.core.files import read_json, write_json
from laconic.core.plan import Plan
from laconic.export.onnxruntime import export
from laconic.graph import Graph, capture, costs
from laconic.measure import Figures
from laconic.pipeline.attempt import FIGURES, MODEL
from laconic.pipeline.bases import Bases
from laconic.pipeline.checks import check_batch_size
from laconic.pipeline.explore import explore
from laconic.pipeline.figures import Original, measure_original, runtime_memory, time_alone
from laconic.pipeline.forecast import Forecast
from laconic.pipeline.job import Job
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.ledger import Ledger
from laconic.pipeline.reading import ENOUGH, Reading
from laconic.pipeline.routes import Route, Wanted, needs_prices
from laconic.pipeline.workspace import Workspace

ORIGINAL, EVIDENCE, ROUTES = "original", "evidence.safetensors", "routes.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Everything that advice rests on, and that an attempt begins with.

    Args:
        original: the model as it is, exported and measured.
        bases: what proposals start from.
        wanted: the budget in fractions of the original's figures.
        routes: the ways to it, priced without training.
        left_out: what is no way at all, and why.
    """

    original: Original
    bases: Bases
    wanted: Wanted
    routes: Sequence[Route]
    left_out: Mapping[str, str]


def survey(job: Job, workspace: Workspace) -> Survey:
    """Captures, exports and measures the original, observes its layers, and prices the ways to the budget.

    Raises:
        UsageError: less memory is allowed than the runtime takes without any model.
        ModelError: the model cannot be captured, or is too large for this machine; says why.
        DataError: the data does not fit the model or the metric.
        ExportError: the target cannot run the model.
    """
    forecast = Forecast.of(job.model, prices=needs_prices(job.budget))
    forecast.check_memory()
    example = job.example()
    graph = capture(job.model, example.args, example.kwargs)
    reading = Reading.of(job.model, costs(graph), job.samples)
    forecast = forecast.with_passes(job.model, costs(graph), reading)
    if forecast.long:
        job.progress.say(f"expected: {forecast}")
    original = _original(job, workspace, graph)
    job = job.taking(Kernels.load(original.model.parent))
    graph = replace(graph, sizes=job.sizes())
    if reading.calibration < job.samples:
        job.progress.say(
            f"reads {reading.calibration} calibration samples of at most {job.samples}: "
            f"{ENOUGH} positions for each input of its layers, and more would take long"
        )
    evidence = Evidence.load(workspace.stage("evidence", partial(_gather, job, reading)) / EVIDENCE)
    wanted = _wanted(job, original)
    bases = Bases(job=job, graph=graph, evidence=evidence, reading=reading, wanted=wanted)
    ways = workspace.stage("routes", partial(_explore, bases, wanted))
    routes = tuple(Route.of(content) for content in read_json(ways / ROUTES))
    left_out = Ledger(ways).left_out
    return Survey(original=original, bases=bases, wanted=wanted, routes=routes, left_out=left_out)


def _original(job: Job, workspace: Workspace, graph: Graph) -> Original:
    def make(folder: Path) -> None:
        exported = export(job.model, Plan(), job.task, job.example(), folder / MODEL)
        Kernels.of(exported).save(folder)
        check_batch_size(exported.dynamic_batch, job.example().size, job.target)
        write_json(folder / FIGURES, measure_original(job, folder / MODEL, costs(graph).macs).to_json())

    folder = workspace.stage(ORIGINAL, make)
    return Original(model=folder / MODEL, figures=Figures.from_json(read_json(folder / FIGURES)))


def _gather(job: Job, reading: Reading, folder: Path) -> None:
    gradients = needs_prices(job.budget)
    evidence = calibrate(job.model, job.task, samples=reading.calibration, gradients=gradients, seed=job.seed)
    evidence.save(folder / EVIDENCE)


def _wanted(job: Job, original: Original) -> Wanted:
    figures, limit = original.figures, job.budget.limits.get("latency")
    return Wanted.of(
        job.budget,
        size_bytes=figures.size_bytes or 0,
        macs=figures.macs or 0,
        latency_ms=None if limit is None or limit.relative else time_alone(job, original.model),
        memory_bytes=figures.peak_memory_bytes or 0,
        runtime_memory=runtime_memory() if "memory" in job.budget.limits else 0,
    )


def _explore(bases: Bases, wanted: Wanted, folder: Path) -> None:
    routes = explore(bases, wanted, Ledger(folder))
    write_json(folder / ROUTES, [route.config() for route in routes])
