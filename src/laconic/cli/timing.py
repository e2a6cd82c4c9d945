"""`laconic bench`: exported models timed in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.core.errors import ArtifactError, UsageError
from laconic.export.artifact import MANIFEST, MODEL, Vectors, read_vectors
from laconic.export.onnxruntime import Session
from laconic.measure import file_bytes, latency, ratio

Array = np.ndarray[Any, Any]


def bench(
    models: Sequence[Path], *, threads: int, batch_size: int, seconds: float, at: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Returns median, quartiles and the ratio to the first model, by path.

    Args:
        models: ONNX files, artifacts or results.
        threads: of one inference.
        batch_size: of one inference.
        seconds: of all.
        at: name of a size that the models leave open, such as a length -> what it is to be.

    Raises:
        UsageError: a model is named twice, what it takes is not known, or it has no size of such a name.
        ArtifactError: a model is missing or damaged.
        ExportError: a model fails on the inputs.
    """
    files = {str(path): _model_file(path) for path in models}
    if len(files) < len(models):
        raise UsageError("bench: a model is named twice; name each once.")
    inputs = _inputs(list(files.values()), batch_size, at or {})
    sessions = {name: Session(path, threads=threads, name=name) for name, path in files.items()}
    timed = latency({name: partial(one.run, inputs) for name, one in sessions.items()}, seconds=seconds)
    first = next(iter(timed.values()))
    return {
        "threads": threads,
        "batch_size": batch_size,
        "models": {
            name: {
                "size_bytes": file_bytes(files[name]),
                "median_ms": found.median_ms,
                "low_ms": found.low_ms,
                "high_ms": found.high_ms,
                "ratio": ratio(found, first).value,
            }
            for name, found in timed.items()
        },
    }


def print_bench(found: Mapping[str, Any]) -> None:
    """Prints what `bench` returned as a table."""
    table = Table("model", "bytes", "median", "quartiles", "ratio")
    for name, row in found["models"].items():
        quartiles = f"{row['low_ms']:.4g} to {row['high_ms']:.4g} ms"
        table.add_row(
            Text(name), f"{row['size_bytes']:,}", f"{row['median_ms']:.4g} ms", quartiles, f"{row['ratio']:.2f}x"
        )
    console = Console()
    console.print(table)
    threads = f"{found['threads']} thread{'s' * (found['threads'] > 1)}"
    console.print(f"{threads}, batch {found['batch_size']}; ratios are to the first, round by round.")


def _model_file(path: Path) -> Path:
    for file in (path, path / MODEL, path / "artifact" / MODEL):
        if file.is_file():
            return file
    raise ArtifactError(f"{path}: no model is there; expected an ONNX file, an artifact, or a result that holds one.")


def _inputs(files: Sequence[Path], batch_size: int, at: Mapping[str, int]) -> list[Array]:
    """Test vectors of the first artifact among the models, else made-up inputs of the first model's types."""
    for file in files:
        if (file.parent / MANIFEST).is_file():
            known = _repeated(read_vectors(file.parent), batch_size)
            return _resized(file, known, at) if at else known
    return _made_up(files[0], batch_size, at)


def _resized(file: Path, arrays: Sequence[Array], at: Mapping[str, int]) -> list[Array]:
    """Returns arrays with other sizes where the model leaves them open: the beginning of each, or each repeated."""
    wanted = _wanted(file)
    _check_names(file, wanted, at)
    found = []
    for value, array in zip(wanted, arrays, strict=True):
        for dim, size in enumerate(value.shape or ()):
            if str(size) in at:
                array = np.take(array, np.arange(at[str(size)]) % array.shape[dim], dim)
        found.append(array)
    return found


def _wanted(file: Path) -> Sequence[ir.Value]:
    try:
        return ir.load(file).graph.inputs
    except Exception as error:  # Whatever the reader trips over, the file is at fault.
        raise ArtifactError(f"{file}: cannot be read as ONNX. Export it again.") from error


def _check_names(file: Path, wanted: Sequence[ir.Value], at: Mapping[str, int]) -> None:
    shapes = [value.shape for value in wanted if value.shape is not None]
    names = {str(size) for shape in shapes for size in shape[1:] if not isinstance(size, int)}
    if missing := at.keys() - names:
        known = f"one of {', '.join(sorted(names))}" if names else "none, since it leaves no size open"
        raise UsageError(f"--at: got {min(missing)!r}; expected {known} for {file}.")


def _repeated(vectors: Vectors, batch_size: int) -> list[Array]:
    """Takes the samples in turn; an array that is not one entry a sample is passed as it is."""
    samples = len(vectors.output)
    taken = np.arange(batch_size) % samples
    return [a[taken] if a.ndim and len(a) == samples else a for a in vectors.inputs]


def _made_up(file: Path, batch_size: int, at: Mapping[str, int]) -> list[Array]:
    wanted = _wanted(file)
    _check_names(file, wanted, at)
    generator = np.random.default_rng(0)
    return [_made_up_array(file, value, batch_size, at, generator) for value in wanted]


def _made_up_array(
    file: Path, value: ir.Value, batch_size: int, at: Mapping[str, int], generator: np.random.Generator
) -> Array:
    if value.dtype is None or value.shape is None:
        raise ArtifactError(f"{file}: its input {value.name!r} has no type. Export it again.")
    batch, *rest = value.shape
    if isinstance(batch, int) and batch != batch_size:
        raise UsageError(f"{file}: takes {batch} samples at once, not {batch_size}. Say --batch-size {batch}.")
    known = [size if isinstance(size, int) else at.get(str(size)) for size in rest]
    sizes = [size for size in known if size is not None]
    if len(sizes) < len(rest):
        open_one = next(str(size) for size, found in zip(rest, known, strict=True) if found is None)
        raise UsageError(
            f"{file}: its input {value.name!r} has the shape {value.shape}, which leaves more open than the batch. Say "
            f"--at {open_one}=64, or name an artifact beside it, whose test vectors say what it takes."
        )
    shape, dtype = (batch_size, *sizes), value.dtype.numpy()
    # Zero is an index that every lookup has.
    return generator.standard_normal(shape).astype(dtype) if dtype.kind == "f" else np.zeros(shape, dtype)
