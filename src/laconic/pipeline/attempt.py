"""One proposal carried out: planned, recovered, exported, measured. Each step is a stage that a killed run keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from laconic.core.apply import apply, refit, settle
from laconic.core.budget import Miss
from laconic.core.files import read_json, write_json
from laconic.core.plan import Plan
from laconic.core.state import load_state, save_state
from laconic.export.onnxruntime import export
from laconic.measure import Figures, file_bytes, ratio
from laconic.pipeline.bases import Bases
from laconic.pipeline.choice import Outcome
from laconic.pipeline.figures import Original, drop, limited, measure
from laconic.pipeline.job import Job
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.lessons import training_of
from laconic.pipeline.planning import Step, planned
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import Route, Wanted
from laconic.pipeline.workspace import Workspace
from laconic.train import distillation, train

MODEL, FIGURES, CHOICE, STEPS = "model.onnx", "figures.json", "choice.json", "steps.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Attempt:
    """A proposal with everything that is known of it.

    Args:
        outcome: whether it meets the budget.
        folder: its stages.
        figures: what was measured of it.
        original: the original's figures, with latencies from the same rounds.
        recovered: whether learning from the original made it better, and was kept.
    """

    outcome: Outcome
    folder: Path
    figures: Figures
    original: Figures
    recovered: bool = False

    @property
    def measured(self) -> bool:
        """Whether more is known than its size."""
        return self.figures.score is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """How a run went.

    Args:
        routes: what was considered before anything was tried.
        attempts: what was tried, in order.
        winner: the one of them that is returned.
        left_out: what is no way at all, and why.
        trials: what became of networks that learned for a while beside each other, in words.
        wanted: what the budget asks for, so that what it rules out can be said.
    """

    routes: Sequence[Route]
    attempts: Sequence[Attempt]
    winner: Attempt
    left_out: Mapping[str, str] = field(default_factory=dict)
    trials: Mapping[Proposal, str] = field(default_factory=dict)
    wanted: Wanted | None = None


def attempt(
    job: Job, proposal: Proposal, workspace: Workspace, bases: Bases, original: Original, *, whatever: bool = False
) -> Attempt:
    """Carries out a proposal; one that is too large is neither recovered nor measured, unless `whatever` is true."""
    name = proposal.name
    start = begun(job, proposal, workspace, bases, original)
    size = file_bytes(start / MODEL)
    too_large = _too_large(job, size, original)
    if too_large and not whatever:
        figures = Figures(name=name, size_bytes=size)
        outcome = Outcome(proposal=proposal, misses=too_large, size_bytes=size)
        return Attempt(outcome=outcome, folder=workspace.folder / name, figures=figures, original=original.figures)
    finished, recovered = start, False
    if job.recovers:
        finished = workspace.stage(f"{name}/recover", partial(_recover, job, bases, start))
        recovered = read_json(finished / CHOICE)["recovered"]
    measured = workspace.stage(f"{name}/measure", partial(_measure, job, name, finished, original))
    return _judged(job, proposal, measured, original, recovered)


def begun(job: Job, proposal: Proposal, workspace: Workspace, bases: Bases, original: Original) -> Path:
    """Returns the folder of a proposal's network and plan, not taught yet."""
    return workspace.stage(f"{proposal.name}/plan", partial(_plan, job, proposal, bases, original))


def _too_large(job: Job, size_bytes: int, original: Original) -> tuple[Miss, ...]:
    limit = job.budget.limits.get("size")
    if limit is None or size_bytes <= (bound := limit.bound(original.figures.size_bytes or 0)):
        return ()
    return (Miss("size", size_bytes, bound),)


def finished_state(attempt_folder: Path) -> Path:
    """Returns the folder of an attempt that holds its final network and exported model."""
    recovered = attempt_folder / "recover"
    return recovered if recovered.exists() else attempt_folder / "plan"


def _plan(job: Job, proposal: Proposal, bases: Bases, original: Original, folder: Path) -> None:
    plan, steps = planned(job, bases, proposal, original.figures.size_bytes or 0)
    write_json(folder / STEPS, [asdict(step) for step in steps])
    _finish(job, apply(job.model, plan).eval(), plan, folder)


def _finish(job: Job, network: nn.Module, plan: Plan, folder: Path) -> None:
    save_state(folder, network, plan)
    Kernels.of(export(network, plan, job.task, job.example(), folder / MODEL)).save(folder)


def _recover(job: Job, bases: Bases, start: Path, folder: Path) -> None:
    """Teaches the planned network; keeps the result if it is nearer to the original on held-back calibration data."""
    before, plan = load_state(start, job.model)
    after, learned = taught(job, plan, folder)
    distances = [bases.yardstick.nats(network) for network in (before, after)]
    recovered = distances[1] <= distances[0]
    write_json(folder / CHOICE, {"recovered": recovered, "before": distances[0], "after": distances[1]})
    _finish(job, after if recovered else before, learned if recovered else plan, folder)


def taught(job: Job, plan: Plan, folder: Path, *, share: float = 1.0) -> tuple[nn.Module, Plan]:
    """Lets a planned network learn from the original.

    Args:
        job: with a recovery.
        plan: what leads to the network.
        folder: of checkpoints, so that a run that was killed goes on.
        share: of the usual number of steps, in (0, 1]; at least one is made.

    Returns:
        The network in eval mode, and the plan fitted to what it has learnt.
    """
    assert job.recovery is not None
    objective = distillation(job.model, job.task, job.recovery.lesson(job.task))

    def listen(step: int, total: int, loss: float) -> None:
        job.progress.step(step, total, f"loss {loss:.4f}")

    student = apply(job.model, plan, trainable=True)
    training = training_of(job, student, folder)
    if share < 1:
        steps = math.ceil(share * training.total_steps(job.task.loader("train")))
        training = replace(training, epochs=None, steps=steps)
    trained = train(student, job.task, training, objective=objective, work=folder / "training", progress=listen).model
    learned = refit(plan, trained)
    # What is cut or swapped is so already, and what a swap took out is not there.
    return apply(settle(trained), Plan.of(learned.recodes), strict=False).eval(), learned


def steps_of(attempt_folder: Path) -> Iterator[Step]:
    """Yields what each part of an attempt did, training last."""
    found = [Step(**content) for content in read_json(attempt_folder / "plan" / STEPS)]
    yield from found
    choice = attempt_folder / "recover" / CHOICE
    if choice.exists() and (learned := read_json(choice))["recovered"]:
        yield replace(found[-1], words="taught by the original", nats=learned["after"])


def _measure(job: Job, name: str, finished: Path, original: Original, folder: Path) -> None:
    network, _ = load_state(finished, job.model)
    candidate, reference = measure(job, name, finished / MODEL, network, original)
    write_json(folder / FIGURES, {"candidate": candidate.to_json(), "original": reference.to_json()})


def _judged(job: Job, proposal: Proposal, measured: Path, original: Original, recovered: bool) -> Attempt:
    found = read_json(measured / FIGURES)
    figures, reference = Figures.from_json(found["candidate"]), Figures.from_json(found["original"])
    threads = job.target.threads
    speed = ratio(figures.latency[threads], reference.latency[threads])
    misses = job.budget.misses(
        limited(reference, reference, threads), limited(figures, reference, threads), drop=drop(figures, reference)
    )
    slower = proposal.activations and speed.interval.low > 1
    outcome = Outcome(
        proposal=proposal, misses=misses, slower=slower, time=speed.value, size_bytes=figures.size_bytes or 0
    )
    return Attempt(outcome=outcome, folder=measured.parent, figures=figures, original=reference, recovered=recovered)
