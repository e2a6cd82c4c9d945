"""`laconic bench`, `report`, `inspect` and `verify`: what exported files hold and do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from laconic.cli.options import Json, print_json
from laconic.core.errors import ArtifactError, invalid
from laconic.core.files import read_json
from laconic.report import Report, summary


def bench(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX files or artifacts, timed in turn.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of one inference.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of one inference.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
    at: Annotated[list[str] | None, typer.Option(help="A size that the models leave open: length=64.")] = None,
    as_json: Json = False,
) -> None:
    """Time exported models against each other on this machine."""
    from laconic.cli.timing import bench as run
    from laconic.cli.timing import print_bench

    sizes = dict(_size(word) for word in at or [])
    found = run(models, threads=threads, batch_size=batch_size, seconds=seconds, at=sizes)
    if as_json:
        print_json(found)
    else:
        print_bench(found)


def _size(word: str) -> tuple[str, int]:
    name, _, size = word.partition("=")
    if not name or not size.isdecimal() or int(size) < 1:
        raise invalid("--at", word, "a name and a whole number of at least 1", "Write length=64.")
    return name, int(size)


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
