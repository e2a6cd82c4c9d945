"""Options that several commands share, and the one way to print JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path, typer.Option(help="Folder for the artifact and the report; a result there is replaced.")]
Work = Annotated[
    Path | None, typer.Option(help="Folder for finished stages, so that a run that was stopped can go on.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the stages in the work folder.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="module:function that builds the network.")]
DataName = Annotated[
    str,
    typer.Option(
        "--data",
        help="module:function that returns a laconic.Task or (train, evaluate) loaders, or a folder with train_x.npy, "
        "train_y.npy, test_x.npy, test_y.npy.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint: safetensors, or a state dict saved by torch. Without one, "
        "the function returns a trained network."
    ),
]
MetricName = Annotated[str | None, typer.Option("--metric", help="accuracy or mse.")]
BatchSize = Annotated[int, typer.Option(min=1, help="For a folder of arrays.")]


def print_json(content: Mapping[str, Any]) -> None:
    """Prints one JSON object on one line."""
    print(json.dumps(content, ensure_ascii=False))
