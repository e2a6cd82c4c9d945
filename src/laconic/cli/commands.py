"""The commands, each a thin layer over the Python function of the same name."""

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
    Epochs,
    Json,
    Latency,
    Macs,
    Memory,
    MetricName,
    Minutes,
    ModelName,
    OptionalData,
    Out,
    Resume,
    Seed,
    Size,
    TargetName,
    Weights,
    Work,
    print_json,
)
from laconic.cli.pruning import prune
from laconic.cli.recipe_text import read_recipe
from laconic.cli.streaming import stream
from laconic.cli.teach import Lessons, delivered, followed, judged, soft_labels, teach
from laconic.cli.weights import factorize, price, quantize, sparsify
from laconic.core.budget import Budget
from laconic.core.errors import ArtifactError, UsageError
from laconic.core.files import read_json
from laconic.core.folders import check_replaceable, replacing
from laconic.core.target import Target
from laconic.pipeline import Recovery, Result
from laconic.report import ADVICE_FILES, Report, advice, summary, write_advice
from laconic.train import AdamW, Training
from laconic.train.randomness import seed_all
from laconic.train.teach import told

BUDGET_NOT_MET = 3


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
        load_task(data, metric=metric, batch_size=batch_size),
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
        load_task(data, metric=metric, batch_size=batch_size),
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


def distill(
    context: typer.Context,
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="module:function that builds the teacher; or a recipe, NAME.yaml.")
    ],
    student: Annotated[
        str | None, typer.Argument(metavar="STUDENT", help="module:function that builds the student.")
    ] = None,
    data: OptionalData = None,
    weights: Annotated[Path | None, typer.Option(help="The teacher's checkpoint, as of compress.")] = None,
    student_weights: Annotated[Path | None, typer.Option(help="The student's, if it does not start anew.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, at its highest.")] = 1e-3,
    temperature: Annotated[float, typer.Option(help="Of the soft labels.")] = 2.0,
    hard_weight: Annotated[float, typer.Option(help="Share of the loss on labels, in [0, 1].")] = 0.0,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    out: Annotated[Path, typer.Option(help="Where the student's weights go.")] = Path("student.safetensors"),
    work: Work = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Teach a student network with a teacher's soft labels (Hinton et al. 2015), or as a recipe says."""
    if teacher.endswith((".yaml", ".yml")):
        given = [name for name in context.params if name not in ("teacher", "as_json") and _was_given(context, name)]
        if given:
            raise UsageError(f"distill: got {given[0]} beside a recipe; expected it in the recipe. Write it there.")
        recipe = read_recipe(Path(teacher))
        out = Path(recipe.out)
        _check_file(out)
        seed_all(recipe.training.seed)
        teaching, learning, task, lessons = followed(recipe)
    else:
        if student is None or data is None:
            raise UsageError("distill: got no STUDENT or no --data; expected both, or a recipe, such as recipe.yaml.")
        _check_file(out)
        task = load_task(data, metric=metric, batch_size=batch_size)
        seed_all(seed)  # A student that starts anew does so alike each time.
        teaching, learning = load_model(teacher, weights), load_model(student, student_weights)
        lessons = Lessons(
            training=Training(epochs=epochs, optimizer=AdamW(learning_rate=learning_rate), seed=seed),
            loss=soft_labels(task, temperature, hard_weight),
            work=work,
        )
    trained = teach(teaching, learning, task, lessons, Terminal())
    out, hint = delivered(trained.model, out, lessons)  # Before it is scored: whatever happens there, it is not lost.
    scores = judged(teaching, trained.model, task, lessons)
    if as_json:
        print_json({"out": str(out), **scores} | ({"pairing": trained.pairing} if trained.pairing else {}))
        return
    for line in told(trained.pairing):
        print(line)
    for name, score in scores.items():
        print(f"{name}: {score['metric']} {score['value']:.4f}")
    print(f"The student is in {out}{hint}")


def bench(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX files or artifacts, timed in turn.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of one inference.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of one inference.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Time exported models against each other on this machine."""
    from laconic.cli.timing import bench as run
    from laconic.cli.timing import print_bench

    found = run(models, threads=threads, batch_size=batch_size, seconds=seconds)
    if as_json:
        print_json(found)
    else:
        print_bench(found)


def report(
    folder: Annotated[Path, typer.Argument(metavar="RESULT", help="What compress or demo wrote.")],
    as_json: Json = False,
) -> None:
    """Show the report of a result again."""
    path = folder / "report.json"
    content = read_json(path)
    try:
        found = Report.from_json(content)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if as_json:
        print_json(found.to_json())
        return
    Console().print(summary(found))
    print(f"The full report: {folder / 'report.html'}")


def inspect(
    path: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact, or the result that holds it.")],
    as_json: Json = False,
) -> None:
    """List what is inside an artifact, layer by layer, read from its files."""
    from laconic.cli.inside import inside, print_inside

    found = inside(artifact_in(path))
    if as_json:
        print_json(found)
    else:
        print_inside(found)


def verify(
    path: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact, or the result that holds it.")],
    as_json: Json = False,
) -> None:
    """Check every byte of an artifact, and its test vectors on this machine."""
    from laconic.export.artifact import verify as run

    found = run(artifact_in(path))
    if as_json:
        print_json(
            {
                "verified": True,
                "files": found.files,
                "samples": found.samples,
                "max_error": found.max_error,
                "tolerance": found.tolerance,
            }
        )
        return
    print(f"{found.files} files are as they were written.")
    print(f"{found.samples} test vectors agree: largest difference {found.max_error:.2%} of the outputs' range.")


ALL = (
    demo,
    advise,
    compress,
    prune,
    quantize,
    sparsify,
    factorize,
    price,
    stream,
    distill,
    bench,
    report,
    inspect,
    verify,
)


def artifact_in(path: Path) -> Path:
    """Returns the artifact at a path: the folder itself, or the `artifact` folder of a result.

    Raises:
        ArtifactError: there is none.
    """
    for folder in (path, path / "artifact"):
        if (folder / "manifest.json").is_file():
            return folder
    raise ArtifactError(
        f"{path}: is no artifact; expected a folder with manifest.json, as `laconic compress` writes it."
    )


def _check_file(path: Path) -> None:
    """Refuses a file that could not be written in the end."""
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder. Name a file, such as {path / 'student.safetensors'}.")
    if path.exists() and not path.is_file():
        raise ArtifactError(f"{path}: is a device or the like, and is not replaced. Name a file.")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written ({error.strerror or error}). Choose another place.") from error


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
