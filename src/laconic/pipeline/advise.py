"""Which compression fits: the ways to a budget, priced and put into words, before anything long starts."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from torch import nn

from laconic.core.budget import Budget
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.pipeline.bases import Bases
from laconic.pipeline.choice import ATTEMPTS, next_proposal, should_be_quick, time_of
from laconic.pipeline.contest import TRIAL, rival_of
from laconic.pipeline.job import Job, Recovery, job_of
from laconic.pipeline.lessons import Schooling
from laconic.pipeline.progress import Progress
from laconic.pipeline.proposal import Cut
from laconic.pipeline.risks import risks
from laconic.pipeline.routes import SLIGHT, Route, Wanted
from laconic.pipeline.story import excess, not_considered
from laconic.pipeline.survey import ORIGINAL, Survey, survey
from laconic.pipeline.workspace import Workspace
from laconic.report import Advice, Way
from laconic.report.wording import byte_size, short_count, significant

EXPORTS_AN_ATTEMPT = 4
CUTTING: Mapping[Cut, str] = {
    "channels": "Cut whole channels, neurons and heads",
    "blocks": "Leave out whole branches and layers",
    "student": "Derive a student, all of it narrower, with fewer layers where it can do without some",
}


def advise(
    model: nn.Module,
    task: Task,
    budget: Budget | None = None,
    target: str | Target = "onnxruntime",
    *,
    recovery: Recovery | None = Recovery(),  # noqa: B008 - frozen, so one for all calls is safe.
    samples: int = 1024,
    seed: int = 0,
    work: str | Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Advice:
    """Says which compression fits a budget, why, and what it will take; nothing is changed and nothing is trained.

    The model is captured, exported once as it is, and observed on calibration data. Then the ways to the budget are
    priced on held-back data: 8-bit integers, bits and codebooks and ranks shared out layer by layer, and both after
    whole channels have gone. `compress` goes the way that is recommended here, and corrects it by what it measures.

    Args:
        model: a trained PyTorch model; left as it is.
        task: data and metric.
        budget: limits on the artifact.
        target: runtime, threads, batch size.
        recovery: how the compressed model would learn from the original; None: not at all.
        samples: calibration samples.
        seed: of everything random.
        work: folder for what is found out; `compress` with the same arguments and folder goes on from there. None: a
            temporary one, gone at the end.
        command: how to carry it out from a shell, for the text.
        progress: told what is going on.

    Raises:
        UsageError: a wrong budget or target.
        ModelError: the model cannot be compressed or captured; says why.
        DataError: the data does not fit the model or the metric.
        ExportError: the target cannot run the model.
    """
    start = time.monotonic()
    job = job_of(
        model,
        task,
        budget,
        target,
        recovery=recovery,
        samples=samples,
        seed=seed,
        command=command,
        progress=progress,
    )
    with tempfile.TemporaryDirectory(prefix="laconic-") if work is None else nullcontext(work) as folder:
        workspace = Workspace(Path(folder), job=job.fingerprint(), resume=True, progress=job.progress)
        known = survey(job, workspace)
        seconds = workspace.seconds()
    return _advice(known.bases.job, known, seconds, start)


def _advice(job: Job, known: Survey, seconds: Mapping[str, float], start: float) -> Advice:
    """Puts into words what is known; `seconds` of each stage, `start` of the clock."""
    wanted, routes, bases = known.wanted, known.routes, known.bases
    chosen = next_proposal(wanted, routes, [])
    best = next(route for route in routes if route.proposal == chosen)
    feasible = wanted.allows(best) and should_be_quick(best, wanted, routes, [])
    original_bytes = wanted.original_bytes
    training = bases.schooling
    rival = rival_of(best.proposal, wanted, routes, []) if job.recovers else None
    return Advice(
        model=type(job.model).__name__,
        target=job.target,
        budget=job.budget,
        feasible=feasible,
        answer=_answer(best, original_bytes, feasible=feasible),
        steps=tuple(_steps(best, bases, original_bytes, job)),
        ways=(*(_way(route, best, rival, wanted, routes) for route in routes), *not_considered(known.left_out)),
        training=tuple(_expected(job, best, training, rival)),
        risks=tuple(risks(job, bases.evidence, best)),
        costs=tuple(_costs(time.monotonic() - start, seconds, training)),
        command=job.command,
    )


def _answer(best: Route, original_bytes: int, *, feasible: bool) -> str:
    smaller = original_bytes / best.size_bytes
    if not feasible:
        return f"Nothing here is sure to meet the budget; the nearest is about {smaller:.1f} times smaller"
    words = "8-bit integers" if best.proposal.activations else "8-bit weights"
    weights = words if best.proposal.size is None else "a form of its own for each layer"
    what = "a student" if best.proposal.cut == "student" else f"fewer {best.proposal.cut}"
    cut = "" if best.proposal.keep == 1 else f"{what}, then "
    return f"{cut}{weights}: about {smaller:.1f} times smaller".capitalize()


def _steps(best: Route, bases: Bases, original_bytes: int, job: Job) -> Iterator[str]:
    proposal, base = best.proposal, bases.at(best.proposal.keep, best.proposal.cut)
    if proposal.keep != 1:
        what = CUTTING[proposal.cut]
        before, after = short_count(bases.at(1.0).macs), short_count(base.macs)
        yield (
            f"{what}: {before} multiply-adds become {after}, and every runtime gains by that. What remains is fitted "
            f"to the original's activations. Costs {significant(base.nats)} nats."
        )
    sizes = f"{byte_size(original_bytes)} become about {byte_size(best.size_bytes)}"
    if proposal.size is None:
        yield f"Store every weight in 8 bits: {sizes}."
    else:
        yield (
            f"Share the bytes out among the layers - grids of 2 to 8 bits, learned values and words, low rank - where "
            f"they cost the fewest nats: {sizes}."
        )
    if proposal.activations:
        faster = "" if best.time is None else f"; all together should take {best.time:.2f} of the time"
        yield f"Round activations to 8 bits, so that the runtime multiplies integers{faster}."
    yield f"So far, without training, the answers move by {significant(best.nats or 0)} nats: {_felt(best.nats or 0)}."
    if job.recovers:
        yield "Let the original teach the result on the training data; keep that only if it comes nearer."
    yield "Export, measure beside the original, and take back what does not pay."


def _felt(nats: float) -> str:
    """Bounds by Pinsker's inequality how much probability moves."""
    return f"on average at most {100 * min(1.0, (nats / 2) ** 0.5):.2g} % of the probability goes to other answers"


def _way(route: Route, best: Route, rival: Route | None, wanted: Wanted, routes: Sequence[Route]) -> Way:
    if route is best:
        verdict = "recommended"
    elif route is rival:
        verdict = "learns for a while beside the recommended way: before that its nats say little"
    elif route.nats is None:
        verdict = route.why
    elif not wanted.allows(route):
        verdict = excess(route, wanted)
    elif not should_be_quick(route, wanted, routes, []):
        verdict = f"too slow: about {time_of(route, routes, []):.2f} of the time, and {wanted.latency:.2f} are allowed"
    elif best.nats is not None and route.nats > best.nats:
        verdict = f"moves the answers more: {significant(route.nats)} nats, not {significant(best.nats)}"
    else:
        verdict = f"no nearer by more than {SLIGHT} nats, and slower or larger"
    return Way(plan=str(route.proposal), size_bytes=route.size_bytes, macs=route.macs, nats=route.nats, verdict=verdict)


def _expected(job: Job, best: Route, training: Schooling | None, rival: Route | None) -> Iterator[str]:
    if training is None:
        why = "there is no training data" if job.task.train is None else "none was asked for"
        yield f"Without training ({why}) the figures above are what there will be."
        return
    yield f"About {_duration(training.seconds)} on this machine for {training.steps:,} steps; no labels are needed."
    if rival is not None:
        yield (
            f"What a student comes to, only training shows: the way above and {rival.proposal} first learn "
            f"for {TRIAL:.0%} of that, about {_duration(2 * TRIAL * training.seconds)}, and the nearer one goes on."
        )
    if (best.nats or 0) < SLIGHT:
        yield "There is next to nothing to bring back here: try without it first."
    else:
        yield "Part of the distance comes back; how much only the run itself can tell, and it is measured."


def _costs(so_far: float, seconds: Mapping[str, float], training: Schooling | None) -> Iterator[tuple[str, str]]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    yield "This advice", f"{_duration(so_far)}, {byte_size(peak)} of memory at its highest"
    rest = EXPORTS_AN_ATTEMPT * seconds[ORIGINAL] + (training.seconds if training else 0.0)
    yield "compress", f"about as long again, and {_duration(rest)} for each attempt it takes (at most {ATTEMPTS})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
