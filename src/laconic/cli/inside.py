"""`laconic inspect`: what an artifact holds, read from its own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.core.errors import ArtifactError
from laconic.core.plan import Plan
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
    return {
        "files": {name: entry["bytes"] for name, entry in manifest["files"].items()},
        **{name: manifest[name] for name in sorted(FACTS - {"kernels"})},
        "inputs": [_described(value) for value in graph.inputs],
        "outputs": [_described(value) for value in graph.outputs],
        "operators": dict(Counter(node.op_type for node in graph).most_common()),
        "weights": list(_weights(graph, manifest["kernels"])),
        "plan": [str(edit) for edit in Plan.load(folder)],
    }


def _described(value: ir.Value) -> str:
    return f"{value.name}: {value.dtype} {value.shape}"


def _weights(graph: ir.Graph, kernels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is not None:
            yield {
                "name": name,
                "type": str(tensor.dtype),
                "shape": list(tensor.shape.numpy()),
                "bytes": tensor.nbytes,
                "kernel": kernels.get(_parameter(name), ""),
            }


def _parameter(name: str) -> str:
    """The parameter that a stored tensor is the codes of; one that several operators use is numbered."""
    return name.removesuffix(".codes").partition("#")[0]


def print_inside(found: Mapping[str, Any]) -> None:
    """Prints what `inside` returned."""
    console = Console(highlight=False, markup=False)  # Names from a file are shown, not obeyed.
    files = Table("file", "bytes", title="Files")
    for name, size in found["files"].items():
        files.add_row(Text(name), f"{size:,}")
    weights = Table("tensor", "type", "shape", "bytes", "runs as", title="Stored in model.onnx")
    for row in found["weights"]:
        texts = map(Text, (row["name"], row["type"], str(row["shape"]), f"{row['bytes']:,}", str(row["kernel"])))
        weights.add_row(*texts)
    operators = ", ".join(f"{name} x {count}" for name, count in found["operators"].items())
    console.print(files, weights)
    console.print(f"Operators: {operators}", f"Inputs: {'; '.join(found['inputs'])}", sep="\n")
    console.print("Plan:", *(f"  {edit}" for edit in found["plan"]), sep="\n")
    console.print(f"Made for {found['target']}; its budget was {'met' if found['met'] else 'NOT met'}.")
