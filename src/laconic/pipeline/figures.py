"""What is read off an exported model, always beside the original."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from laconic.core.errors import LaconicError
from laconic.export.onnxruntime import Session
from laconic.export.onnxruntime import peak as peak_script
from laconic.graph import capture, costs
from laconic.measure import (
    Figures,
    Kept,
    Latency,
    Score,
    agreement,
    answers,
    compare,
    evaluate,
    file_bytes,
    latency,
    parameter_count,
    peak_memory,
    ratio,
)
from laconic.measure.runner import TorchRunner, to_array
from laconic.pipeline.job import Job

SECONDS = 6.0
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """The original, exported as it is.

    Args:
        model: its ONNX file.
        figures: everything but latency, which is measured anew beside every candidate.
    """

    model: Path
    figures: Figures


def measure_original(job: Job, model: Path, macs: int) -> Figures:
    """Reads everything but latency off the exported original."""
    return _read(job, "original", model, job.model, macs)


def measure(job: Job, name: str, model: Path, network: nn.Module, original: Original) -> tuple[Figures, Figures]:
    """Measures a candidate beside the original.

    Args:
        job: data, metric, target.
        name: what reports call the candidate.
        model: the candidate's ONNX file.
        network: the PyTorch model that it was exported from.
        original: the original.

    Returns:
        The candidate's figures, and the original's with latencies from the same rounds.
    """
    macs = costs(capture(network, job.example().args, job.example().kwargs)).macs
    figures = _read(job, name, model, network, macs)
    timed = {threads: _latency(job, threads, model, original.model) for threads in thread_counts(job)}
    candidate = replace(figures, latency={threads: pair[0] for threads, pair in timed.items()})
    reference = replace(original.figures, latency={threads: pair[1] for threads, pair in timed.items()})
    return candidate, reference


def thread_counts(job: Job) -> tuple[int, ...]:
    """Returns the numbers of threads that latency is measured at: one, the target's, and all."""
    return tuple(sorted({1, job.target.threads, os.cpu_count() or 1}))


def limited(figures: Figures, reference: Figures, threads: int) -> dict[str, float]:
    """Returns the figures that a budget limits, by the budget's names.

    The latency is the reference's times the ratio of the two, since the ratio is what the machine's noise leaves alone.
    """
    speed = ratio(figures.latency[threads], reference.latency[threads]).value
    found = {
        "size": figures.size_bytes,
        "macs": figures.macs,
        "latency": speed * reference.latency[threads].median_ms,
        "memory": figures.peak_memory_bytes,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def drop(figures: Figures, reference: Figures) -> float:
    """Returns by how much the metric got worse; negative if it got better."""
    before, after = _score(reference), _score(figures)
    return before.value - after.value if before.higher_is_better else after.value - before.value


def _score(figures: Figures) -> Score:
    assert figures.score is not None
    return figures.score


def _read(job: Job, name: str, model: Path, network: nn.Module, macs: int | None) -> Figures:
    task = job.task
    session = Session(model, threads=max(thread_counts(job)))
    regression = task.score.regression

    exported = Kept(partial(answers, session, task))
    original = Kept(partial(answers, TorchRunner(job.model, task), task))
    own = original if network is job.model else Kept(partial(answers, TorchRunner(network, task), task))
    memory, missing = _peak_memory(job, model)
    if memory is None and "memory" in job.budget.limits:
        raise LaconicError(f"Budget.memory: cannot be judged: {missing['peak_memory_bytes']}")
    return Figures(
        name=name,
        runtime=f"onnxruntime {importlib.metadata.version('onnxruntime')}",
        size_bytes=file_bytes(model),
        parameters=parameter_count(network),
        macs=macs,
        peak_memory_bytes=memory,
        score=evaluate(exported, task.score),
        divergence=compare(original, exported, regression=regression),
        agreement=agreement(own, exported, regression=regression),
        missing=missing,
    )


def _latency(job: Job, threads: int, candidate: Path, original: Path) -> tuple[Latency, Latency]:
    inputs = samples(job, job.target.batch_size)
    sessions = {"candidate": Session(candidate, threads=threads), "original": Session(original, threads=threads)}

    found = latency(
        {name: partial(session.run, inputs) for name, session in sessions.items()},
        seconds=SECONDS,
        seed=job.seed,
    )
    return found["candidate"], found["original"]


def time_alone(job: Job, model: Path) -> float:
    """Returns about how many milliseconds one inference takes: for planning, not for reports."""
    session, inputs = Session(model, threads=job.target.threads), samples(job, job.target.batch_size)
    found = latency({"original": partial(session.run, inputs)}, seconds=SECONDS / 6, seed=job.seed)
    return found["original"].median_ms


def runtime_memory() -> int:
    """Returns the peak memory of a process that loads the runtime and no model."""
    return peak_memory([sys.executable, "-c", "import numpy, onnxruntime"], timeout_seconds=300)


def samples(job: Job, count: int) -> list[Array]:
    """Returns the inputs of the first evaluation batch's samples, repeated until there are `count`."""
    batch = job.example()
    if batch.first(1).size > 1:  # One piece, as a graph with its edges is.
        return [to_array(t) for t in batch.inputs]
    taken = torch.arange(count) % batch.size
    # A tensor of another length is not one entry a sample, but something all samples share.
    return [to_array(t[taken] if t.dim() and len(t) == batch.size else t) for t in batch.inputs]


def _peak_memory(job: Job, model: Path) -> tuple[int | None, dict[str, str]]:
    inputs = model.with_name("inputs.npz")
    np.savez(inputs, *samples(job, job.target.batch_size))
    try:
        return peak_memory([sys.executable, peak_script.__file__, str(model), str(inputs)], timeout_seconds=300), {}
    except LaconicError as error:
        return None, {"peak_memory_bytes": str(error)}
    finally:
        inputs.unlink(missing_ok=True)
