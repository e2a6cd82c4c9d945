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
OptionalData = Annotated[str | None, typer.Option("--data", help="The same, unless a recipe names it.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint: safetensors, or a state dict saved by torch. Without one, "
        "the function returns a trained network."
    ),
]
Size = Annotated[str | None, typer.Option(help="Most bytes of the file: 0.25, '25 %' (of the original) or '2 MB'.")]
Latency = Annotated[str | None, typer.Option(help="Most time of one inference: 0.5, '50 %' or '3 ms'.")]
Memory = Annotated[str | None, typer.Option(help="Most memory of a process that runs it: 0.5 or '200 MB'.")]
Macs = Annotated[str | None, typer.Option(help="Most multiply-accumulates a sample: 0.5 or '30 MMACs'.")]
Drop = Annotated[str | None, typer.Option(help="Most that the metric may lose: 0.01 or '1 %' is one point.")]
TargetName = Annotated[str, typer.Option("--target", help="Where it will run: onnxruntime:threads=2,batch_size=8.")]
Epochs = Annotated[int, typer.Option(min=0, help="Of recovery by distillation from the original; 0: none.")]
Minutes = Annotated[
    float | None, typer.Option(help="Of recovery for one attempt at most, where the epochs would take longer.")
]
MetricName = Annotated[str | None, typer.Option("--metric", help="accuracy, 'cross entropy' or mse.")]
Dynamic = Annotated[
    list[str] | None,
    typer.Option(
        help="A size of the inputs that the exported model takes as it comes, and where it is: length=ids:1,mask:1. "
        "May be given several times; without it, sizes in which batches differ."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="For a folder of arrays.")]


def print_json(content: Mapping[str, Any]) -> None:
    """Prints one JSON object on one line."""
    print(json.dumps(content, ensure_ascii=False))
