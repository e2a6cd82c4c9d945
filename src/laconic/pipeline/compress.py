"""The main job: a trained network, data and a budget go in; a smaller, measured, checked artifact comes out."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from torch import nn

from laconic.core.budget import Budget
from laconic.core.errors import ModelError
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.pipeline.attempt import Attempt, Course, attempt
from laconic.pipeline.choice import next_proposal, rank
from laconic.pipeline.contest import Contest
from laconic.pipeline.job import Job, Recovery, job_of
from laconic.pipeline.progress import Progress
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.result import Result, finish
from laconic.pipeline.survey import Survey, survey
from laconic.pipeline.workspace import Workspace


def compress(
    model: nn.Module,
    task: Task,
    budget: Budget | None = None,
    target: str | Target = "onnxruntime",
    *,
    recovery: Recovery | None = Recovery(),  # noqa: B008 - frozen, so one for all calls is safe.
    samples: int = 1024,
    seed: int = 0,
    work: str | Path | None = None,
    resume: bool = True,
    command: str = "",
    progress: Progress | None = None,
) -> Result:
    """Compresses a trained model until a budget holds on the exported, measured artifact.

    The model itself is left as it is. Stages: check, export and measure the original, gather evidence, then one attempt
    after another - plan, recover by distillation from the original, export, measure - until one meets the budget.

    Args:
        model: a trained PyTorch model, on any device, in any mode.
        task: data and metric; three arguments are enough: `Task(train=..., evaluate=..., metric="accuracy")`.
        budget: limits on the artifact; None: 8-bit integers, whatever that gives.
        target: runtime, threads, batch size, such as `"onnxruntime:threads=2"`.
        recovery: how the compressed model learns from the original; None, or a task without training data: not at all.
        samples: calibration samples.
        seed: of everything random.
        work: folder for the stages; a run that was killed goes on there, and so does `compress` after `advise`. None: a
            temporary one, gone at the end.
        resume: go on with the stages that are in `work`.
        command: how to repeat this from a shell, for the report.
        progress: told what is going on.

    Returns:
        The compressed model (on the CPU), its plan, the report and the artifact. `result.met` says whether the budget
        holds; if nothing met it, the best attempt is returned and `result.misses` says what is missing and by how much.

    Raises:
        UsageError: a wrong budget or target, or a work folder of another job.
        ModelError: the model cannot be compressed or captured; says why.
        DataError: the data does not fit the model or the metric.
        ExportError: the target cannot run the model.
        ArtifactError: a file cannot be written or read.
    """
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
    if work is not None:
        return _compress(job, Path(work), resume)
    home = Path(tempfile.mkdtemp(prefix="laconic-"))
    try:
        result = _compress(job, home, resume)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    weakref.finalize(result, shutil.rmtree, home, ignore_errors=True)
    return result


def _compress(job: Job, folder: Path, resume: bool) -> Result:
    workspace = Workspace(folder, job=job.fingerprint(), resume=resume, progress=job.progress)
    known = survey(job, workspace)
    job = known.bases.job
    contest = Contest(job, workspace, known)
    attempts = _attempts(job, workspace, known, contest)
    judged = [one for one in attempts if one.measured] or attempts  # What was too large was not measured any further.
    winner = min(judged, key=lambda one: rank(one.outcome))
    course = Course(
        routes=known.routes,
        attempts=attempts,
        winner=winner,
        left_out=known.left_out,
        trials=contest.verdicts,
        wanted=known.wanted,
    )
    return finish(job, workspace, course)


def _attempts(job: Job, workspace: Workspace, known: Survey, contest: Contest) -> list[Attempt]:
    """Carries out one proposal after another; the best one is measured in full even if nothing meets the budget."""

    def carry_out(proposal: Proposal, *, whatever: bool = False) -> Attempt:
        found = attempt(job, proposal, workspace, known.bases, known.original, whatever=whatever)
        job.progress.say(f"{proposal}: {found.outcome}")
        return found

    def next_one() -> Proposal | None:
        tried = [one.outcome for one in attempts]
        chosen = next_proposal(known.wanted, known.routes, tried)
        return chosen and contest.settled(chosen, [outcome.proposal for outcome in tried])

    attempts: list[Attempt] = []
    while (proposal := next_one()) is not None:
        try:
            attempts.append(carry_out(proposal))
        except ModelError as error:  # Such as channels that cannot be cut any further.
            if not attempts:
                raise
            job.progress.say(f"{proposal}: {error}")
            break
    nearest = min(attempts, key=lambda one: rank(one.outcome))
    if not nearest.measured:
        attempts[attempts.index(nearest)] = carry_out(nearest.outcome.proposal, whatever=True)
    return attempts
