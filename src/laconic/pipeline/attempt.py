"""One proposal carried out: planned, recovered, exported, measured. Each step is a stage that a killed run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from laconic.calibrate import Evidence
from laconic.core.apply import apply, refit, settle
from laconic.core.budget import Miss
from laconic.core.files import read_json, write_json
from laconic.core.plan import Plan
from laconic.core.state import load_state, save_state
from laconic.core.task import Batch, split_batch
from laconic.export.onnxruntime import export
from laconic.graph import Graph
from laconic.measure import Figures, answers, compare, file_bytes, ratio
from laconic.measure.runner import TorchRunner
from laconic.pipeline.choice import Outcome, Proposal
from laconic.pipeline.figures import Original, drop, limited, measure
from laconic.pipeline.job import Job
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.workspace import Workspace
from laconic.quantize import quantize
from laconic.train import distillation, randomness, train

MODEL, FIGURES, CHOICE = "model.onnx", "figures.json", "choice.json"
COMPARED_SAMPLES = 512


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


def attempt(
    job: Job,
    proposal: Proposal,
    workspace: Workspace,
    graph: Graph,
    evidence: Evidence,
    original: Original,
    *,
    whatever: bool = False,
) -> Attempt:
    """Carries out a proposal; one that is too large is neither recovered nor measured, unless `whatever` is true."""
    name = proposal.name
    planned = workspace.stage(f"{name}/plan", partial(_plan, job, proposal, graph, evidence))
    size = file_bytes(planned / MODEL)
    too_large = _too_large(job, size, original)
    if too_large and not whatever:
        figures = Figures(name=name, size_bytes=size)
        outcome = Outcome(proposal=proposal, misses=too_large)
        return Attempt(outcome=outcome, folder=workspace.folder / name, figures=figures, original=original.figures)
    finished, recovered = planned, False
    if job.recovers:
        finished = workspace.stage(f"{name}/recover", partial(_recover, job, planned))
        recovered = read_json(finished / CHOICE)["recovered"]
    measured = workspace.stage(f"{name}/measure", partial(_measure, job, name, finished, original))
    return _judged(job, proposal, measured, original, recovered)


def _too_large(job: Job, size_bytes: int, original: Original) -> tuple[Miss, ...]:
    limit = job.budget.limits.get("size")
    if limit is None or size_bytes <= (bound := limit.bound(original.figures.size_bytes or 0)):
        return ()
    return (Miss("size", size_bytes, bound),)


def finished_state(attempt_folder: Path) -> Path:
    """Returns the folder of an attempt that holds its final network and exported model."""
    recovered = attempt_folder / "recover"
    return recovered if recovered.exists() else attempt_folder / "plan"


def _plan(job: Job, proposal: Proposal, graph: Graph, evidence: Evidence, folder: Path) -> None:
    rounded = 8 if proposal.activations else None
    plan = quantize(job.model, job.task, bits=proposal.bits, activation_bits=rounded, evidence=evidence, graph=graph)
    _finish(job, apply(job.model, plan).eval(), plan, folder)


def _finish(job: Job, network: nn.Module, plan: Plan, folder: Path) -> None:
    save_state(folder, network, plan)
    Kernels.of(export(network, plan, job.task, job.example(), folder / MODEL)).save(folder)


def _recover(job: Job, planned: Path, folder: Path) -> None:
    """Teaches the planned network; keeps the result if it is nearer to the original on calibration data."""
    assert job.recovery is not None
    before, plan = load_state(planned, job.model)
    objective = distillation(job.model, job.task, job.recovery.lesson(job.task))

    def listen(step: int, total: int, loss: float) -> None:
        job.progress.step(step, total, f"loss {loss:.4f}")

    student = apply(job.model, plan, trainable=True)
    trained = train(
        student, job.task, job.recovery.training, objective=objective, work=folder / "training", progress=listen
    ).model
    learned = refit(plan, trained)
    after = apply(settle(trained), learned).eval()
    batches = _compared(job)
    distances = [_distance(job, network, batches) for network in (before, after)]
    recovered = distances[1] <= distances[0]
    write_json(folder / CHOICE, {"recovered": recovered, "before": distances[0], "after": distances[1]})
    _finish(job, after if recovered else before, learned if recovered else plan, folder)


def _compared(job: Job) -> list[Batch]:
    """Calibration data; a loader that shuffles gives the same samples in every run."""
    with randomness.undisturbed(torch.device("cpu")):
        randomness.seed_all(job.seed, 0)
        return list(job.task.batches("calibrate", limit=COMPARED_SAMPLES))


def _distance(job: Job, network: nn.Module, batches: Sequence[Batch]) -> float:
    """How far a network answers from the original: KL in nats, or relative error."""
    fixed = replace(job.task, evaluate=batches, split=split_batch)
    both = [answers(TorchRunner(module, fixed), fixed) for module in (job.model, network)]
    found = compare(*both, regression=job.task.score.regression)
    return float((found.relative_error if job.task.score.regression else found.kl_nats) or 0.0)


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
    outcome = Outcome(proposal=proposal, misses=misses, slower=proposal.activations and speed.interval.low > 1)
    return Attempt(outcome=outcome, folder=measured.parent, figures=figures, original=reference, recovered=recovered)
