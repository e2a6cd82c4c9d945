"""`laconic distill`: one network teaches another, as the options or a recipe say."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.listen import Terminal
from laconic.cli.load import load_model, load_task
from laconic.cli.options import BatchSize, Json, MetricName, OptionalData, Seed, Work, print_json
from laconic.cli.recipe_text import read_recipe
from laconic.cli.teach import Lessons, delivered, followed, judged, soft_labels, teach
from laconic.core.errors import ArtifactError, UsageError
from laconic.train import AdamW, Training
from laconic.train.randomness import seed_all
from laconic.train.teach import told


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
