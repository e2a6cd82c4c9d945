"""`laconic inspect`: what an artifact holds, read from its own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import onnx_ir as ir
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.core.errors import ArtifactError
from laconic.core.files import read_tensors
from laconic.core.plan import Plan
from laconic.core.state import WEIGHTS
from laconic.export.artifact import MANIFEST, MODEL, check_files

FACTS = {"budget", "kernels", "met", "target", "versions"}


def inside(folder: Path) -> dict[str, Any]:
    """Returns files, operators and weights of an artifact.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    manifest = check_files(folder)
    if missing := FACTS - manifest.keys():
        raise ArtifactError(f"{folder / MANIFEST}: does not say {min(missing)!r}. Make the artifact with compress.")
    try:
        graph = ir.load(folder / MODEL).graph
    except Exception as error:  # Its seal holds, so this is a version of ONNX that this machine cannot read.
        raise ArtifactError(f"{folder / MODEL}: cannot be read as ONNX ({error}).") from error
    plan = Plan.load(folder)
    parameters = [*(edit.parameter for edit in plan.recodes), *read_tensors(folder / WEIGHTS)]
    return {
        "files": {name: entry["bytes"] for name, entry in manifest["files"].items()},
        **{name: manifest[name] for name in sorted(FACTS - {"kernels"})},
        "inputs": [_described(value) for value in graph.inputs],
        "outputs": [_described(value) for value in graph.outputs],
        "operators": dict(Counter(node.op_type for node in graph).most_common()),
        "weights": sorted(_weights(graph, parameters, manifest["kernels"]), key=_place(parameters)),
        "plan": [str(edit) for edit in plan],
    }


def _described(value: ir.Value) -> str:
    return f"{value.name}: {value.dtype} {value.shape}"


def _weights(graph: ir.Graph, parameters: Sequence[str], kernels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is not None:
            of = next((p for p in parameters if name == p or name.startswith((f"{p}.", f"{p}#"))), "")
            yield {
                "name": name,
                "of": of,
                "type": str(tensor.dtype),
                "shape": list(tensor.shape.numpy()),
                "bytes": tensor.nbytes,
                "kernel": kernels.get(of, ""),
            }


def _place(parameters: Sequence[str]) -> Callable[[Mapping[str, Any]], int]:
    """Orders tensors as the network has its layers; what belongs to none comes last."""
    places = {name: place for place, name in reversed(list(enumerate(parameters)))}
    return lambda row: places.get(row["of"], len(parameters))


def _by_layer(weights: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yields parameter, how it is stored, its bytes with scales and the like, and the kernel that reads it."""
    for of, found in groupby(weights, key=itemgetter("of")):
        tensors = list(found)
        largest = max(tensors, key=itemgetter("bytes"))
        stored = f"{largest['type']} {largest['shape']}" if of else f"{len(tensors)} tensors"
        yield of or "the graph's own", stored, f"{sum(row['bytes'] for row in tensors):,}", largest["kernel"]


def print_inside(found: Mapping[str, Any]) -> None:
    """Prints what `inside` returned."""
    console = Console(highlight=False, markup=False)  # Names from a file are shown, not obeyed.
    files = Table("file", "bytes", title="Files")
    for name, size in found["files"].items():
        files.add_row(Text(name), f"{size:,}")
    weights = Table("weight", "stored as", "bytes", "runs as", title="Stored in model.onnx, layer by layer")
    for row in _by_layer(found["weights"]):
        weights.add_row(*map(Text, row))
    operators = ", ".join(f"{name} x {count}" for name, count in found["operators"].items())
    console.print(files, weights)
    console.print(f"Operators: {operators}", f"Inputs: {'; '.join(found['inputs'])}", sep="\n")
    console.print("Plan:", *(f"  {edit}" for edit in found["plan"]), sep="\n")
    console.print(f"Made for {found['target']}; its budget was {'met' if found['met'] else 'NOT met'}.")
