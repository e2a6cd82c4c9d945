"""`laconic demo`, `advise` and `compress`: what fits a budget, and a network that does."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from laconic.cli.listen import Terminal
from laconic.cli.load import load_model, load_task
from laconic.cli.options import (
    BatchSize,
    DataName,
    Drop,
    Dynamic,
    Epochs,
    Json,
    Latency,
    Macs,
    Memory,
    MetricName,
    Minutes,
    ModelName,
    Out,
    Resume,
    Seed,
    Size,
    TargetName,
    Weights,
    Work,
    print_json,
)
from laconic.core.budget import Budget
from laconic.core.errors import ArtifactError, UsageError
from laconic.core.folders import check_replaceable, replacing
from laconic.core.target import Target
from laconic.pipeline import Recovery, Result
from laconic.report import ADVICE_FILES, advice, summary, write_advice
from laconic.train.randomness import seed_all

BUDGET_NOT_MET = 3
"""The exit status where the best that was found is returned."""


def demo(out: Out = Path("laconic-demo"), seed: Seed = 0, as_json: Json = False) -> None:
    """Train a small network on real handwriting, compress it, and show what it brought: two minutes on 2 cores."""
    Result.check_place(out)
    from laconic.demo import BUDGET, RECOVERY_EPOCHS, digits, trained_network
    from laconic.pipeline import compress as run

    # So small a network gains little from threads, and loses much where they wait for a core that others use.
    torch.set_num_threads(1)
    listener = Terminal()
    task = digits()
    listener.begin("train the original")
    try:
        model = trained_network(task, seed=seed, progress=lambda s, n, loss: listener.step(s, n, f"loss {loss:.4f}"))
    finally:
        listener.end()
    recovery = Recovery.for_epochs(RECOVERY_EPOCHS, seed=seed)
    result = run(model, task, BUDGET, recovery=recovery, seed=seed, command=_command(), progress=listener)
    _deliver(result, out, as_json)


def advise(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    size: Size = None,
    latency: Latency = None,
    memory: Memory = None,
    macs: Macs = None,
    drop: Drop = None,
    target: TargetName = "onnxruntime",
    epochs: Epochs = 10,
    minutes: Minutes = None,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    dynamic: Dynamic = None,
    out: Annotated[Path | None, typer.Option(help="Folder for advice.html, advice.md and advice.json.")] = None,
    work: Work = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Say which compression fits a budget, why, and what it will take, before anything long starts.

    Example: `laconic advise my_nets:build --weights net.safetensors --data arrays/ --size 0.1 --drop 0.01`
    """
    from laconic.pipeline import advise as run

    if out is not None:
        check_replaceable(out, ADVICE_FILES)
    seed_all(seed)
    found = run(
        load_model(model, weights),
        load_task(data, metric=metric, batch_size=batch_size, dynamic=dynamic),
        Budget(size=size, latency=latency, memory=memory, macs=macs, drop=drop),
        Target.parse(target),
        recovery=Recovery.for_epochs(epochs, minutes=minutes, seed=seed) if epochs else None,
        seed=seed,
        work=work,
        command=_compress_command(sys.argv[1:], resume=work is not None),
        progress=Terminal(),
    )
    if out is not None:
        with replacing(out, ADVICE_FILES) as folder:
            write_advice(found, folder)
    if as_json:
        print_json(found.to_json())
        return
    Console().print(advice(found))
    if out is not None:
        print(f"\nThe page: {out / 'advice.html'}")


def compress(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    size: Size = None,
    latency: Latency = None,
    memory: Memory = None,
    macs: Macs = None,
    drop: Drop = None,
    target: TargetName = "onnxruntime",
    epochs: Epochs = 10,
    minutes: Minutes = None,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    dynamic: Dynamic = None,
    out: Out = Path("laconic-out"),
    work: Work = None,
    resume: Resume = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compress a trained network until a budget holds on the exported, measured artifact.

    Example: `laconic compress my_nets:build --weights net.safetensors --data arrays/ --size 0.25 --drop 0.01`
    """
    from laconic.pipeline import compress as run

    if resume and work is None:
        raise UsageError("--resume: needs --work FOLDER, the folder of the run that was stopped.")
    budget = Budget(size=size, latency=latency, memory=memory, macs=macs, drop=drop)
    chosen = Target.parse(target)
    Result.check_place(out)
    seed_all(seed)
    result = run(
        load_model(model, weights),
        load_task(data, metric=metric, batch_size=batch_size, dynamic=dynamic),
        budget,
        chosen,
        recovery=Recovery.for_epochs(epochs, minutes=minutes, seed=seed) if epochs else None,
        seed=seed,
        work=work,
        resume=resume,
        command=_command(),
        progress=Terminal(),
    )
    _deliver(result, out, as_json)


def _command() -> str:
    return shlex.join(["laconic", *sys.argv[1:]])


def _compress_command(words: list[str], *, resume: bool) -> str:
    """Returns how to carry out what `advise` was asked about: the same options, but for where and how it says so."""
    kept, skip = [], False
    for word in words[1:]:
        if not skip and word != "--json" and word != "--out" and not word.startswith("--out="):
            kept.append(word)
        skip = not skip and word == "--out"
    return shlex.join(["laconic", "compress", *kept, *(["--resume"] if resume else [])])


def _deliver(result: Result, out: Path, as_json: bool) -> None:
    try:
        result.save(out)
    except ArtifactError as error:  # Such as a disk that has become full: hours of work are not thrown away for that.
        kept = result.save(tempfile.mkdtemp(prefix="laconic-kept-"))
        raise ArtifactError(f"{error} The result is kept in {kept}.") from error
    if as_json:
        print_json({"met": result.met, "out": str(out), **result.report.to_json()})
    else:
        Console().print(summary(result.report))
        print(f"\nArtifact: {out / 'artifact'}\nReport:   {out / 'report.html'}")
    if not result.met:
        raise typer.Exit(BUDGET_NOT_MET)
