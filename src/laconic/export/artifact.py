"""The result as a folder that can be checked: model, weights, plan, test vectors and a manifest over all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from laconic.core.errors import ArtifactError, UsageError
from laconic.core.files import read_bytes, read_tensors, sha256, write_bytes, write_tensors
from laconic.core.folders import replacing
from laconic.core.plan import PLAN_FILE, TENSOR_FILE, Plan
from laconic.core.state import WEIGHTS, load_state, save_state
from laconic.export.onnxruntime import Session
from laconic.export.onnxruntime.any_size import difference
from laconic.prune.saved import DESCRIPTION, load_pruned

Array = np.ndarray[Any, Any]
FORMAT = 1
MANIFEST, MODEL, VECTORS = "manifest.json", "model.onnx", "vectors.safetensors"
OTHER = "other."
FILES = (MODEL, WEIGHTS, PLAN_FILE, TENSOR_FILE, VECTORS)
# Integer kernels of different processors may round a code differently, which moves an output by a step or so.
TOLERANCE = {"float": 1e-3, "integer": 5e-2}


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """A few inputs with the outputs that the exported model gave for them.

    Args:
        inputs: in the order of the model's inputs, each `[samples, ...]`.
        output: `[samples, ...]`.
        other: the same for inputs of other sizes, where the model takes them.
    """

    inputs: Sequence[Array]
    output: Array
    other: Vectors | None = None

    @property
    def each(self) -> tuple[Vectors, ...]:
        """These, and those of other sizes."""
        return (self, *(self.other.each if self.other else ()))

    def arrays(self) -> dict[str, Array]:
        """Returns all of them by the names that they have in a file."""
        found = {f"input.{i}": a for i, a in enumerate(self.inputs)} | {"output": self.output}
        return found | ({f"{OTHER}{name}": a for name, a in self.other.arrays().items()} if self.other else {})

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Self:
        """Undoes `arrays`.

        Raises:
            KeyError: one is missing.
        """
        others = {name.removeprefix(OTHER): a for name, a in arrays.items() if name.startswith(OTHER)}
        own = {name: a for name, a in arrays.items() if not name.startswith(OTHER)}
        inputs = [own[f"input.{i}"] for i in range(len(own) - 1)]
        return cls(inputs=inputs, output=own["output"], other=cls.of(others) if others else None)


def write_artifact(
    folder: Path, *, model: Path, network: nn.Module, plan: Plan, vectors: Vectors, facts: Mapping[str, Any]
) -> None:
    """Writes an artifact, whole or not at all; an older one under the same name is replaced.

    Args:
        folder: the artifact's final place.
        model: the exported ONNX file.
        network: the compressed PyTorch model; what the plan does not recode is stored as it is.
        plan: what was done; holds the recoded weights.
        vectors: test vectors.
        facts: more to put into the manifest, JSON values: versions, budget, measurements.

    Raises:
        ArtifactError: the disk is full or the place cannot be written; nothing is left under the final name.
    """
    with replacing(folder, {MANIFEST, *FILES}) as fresh:
        write_bytes(fresh / MODEL, read_bytes(model))
        save_state(fresh, network, plan)
        arrays = {k: torch.from_numpy(np.ascontiguousarray(a)) for k, a in vectors.arrays().items()}
        write_tensors(fresh / VECTORS, arrays)
        rounded = any(edit.kind == "round" for edit in plan)
        write_bytes(
            fresh / MANIFEST,
            _sealed(
                {
                    "format": FORMAT,
                    "files": {name: _entry(fresh / name) for name in FILES},
                    "tolerance": TOLERANCE["integer" if rounded else "float"],
                    **facts,
                }
            ),
        )


def _entry(path: Path) -> dict[str, Any]:
    content = read_bytes(path)
    return {"bytes": len(content), "sha256": sha256(content)}


def _canonical(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _sealed(content: Mapping[str, Any]) -> bytes:
    return _canonical({**content, "seal": sha256(_canonical(content))})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads an artifact's manifest, checked against its own seal.

    Raises:
        ArtifactError: it is missing, damaged, of another format, or names other files than an artifact has.
    """
    path = Path(folder) / MANIFEST
    raw = read_bytes(path)
    try:
        content = json.loads(raw)
        seal = content.pop("seal")
        whole = _sealed(content) == raw and seal == sha256(_canonical(content))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ArtifactError(f"{path}: damaged, its content does not match its seal. Copy the artifact again.")
    if content.get("format") != FORMAT:
        raise ArtifactError(f"{path}: written by another version of Laconic; this one reads format {FORMAT}.")
    if not isinstance(files := content.get("files"), dict) or set(files) != set(FILES):
        raise ArtifactError(f"{path}: names other files than an artifact has; expected {', '.join(FILES)}.")
    return dict(content)


def check_files(folder: Path) -> dict[str, Any]:
    """Compares every file of an artifact with its manifest and returns the manifest.

    Raises:
        ArtifactError: a file is missing, damaged, a link, or not in the manifest; the message names it.
    """
    folder = Path(folder)
    for path in _listed(folder):
        if path.name not in {MANIFEST, *FILES} or path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path}: does not belong to the artifact. Remove it, or copy the artifact again.")
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        if _entry(folder / name) != entry:
            raise ArtifactError(f"{folder / name}: damaged, it is not the file that was written. Copy it again.")
    return manifest


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ArtifactError(
            f"{folder}: is no artifact ({error.strerror}). Name the folder that was written."
        ) from error


def read_vectors(folder: Path) -> Vectors:
    """Reads an artifact's test vectors.

    Raises:
        ArtifactError: the file is missing or damaged, or holds something else.
    """
    path = Path(folder) / VECTORS
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
    try:
        found = Vectors.of(arrays)
    except KeyError:
        found = None
    if found is None or not all(each.output.size for each in found.each):
        raise ArtifactError(f"{path}: holds no test vectors; expected input.0, input.1, ... and output.")
    return found


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What `verify` found.

    Args:
        files: files that are as they were written.
        samples: test vectors that were run.
        max_error: largest difference to the stored outputs, as a share of their range.
        tolerance: what was allowed.
    """

    files: int
    samples: int
    max_error: float
    tolerance: float


def verify(folder: str | Path) -> Verified:
    """Checks an artifact on this machine: every byte against the manifest, every test vector in the runtime.

    Raises:
        ArtifactError: something is not as it was written, or the outputs differ; the message names it.
    """
    folder = Path(folder)
    if (folder / DESCRIPTION).exists():
        raise ArtifactError(
            f"{folder}: is a saved pruned model, which has no exported model to run. laconic.load_pruned checks it."
        )
    tolerance = check_files(folder).get("tolerance")
    if not isinstance(tolerance, float):
        raise ArtifactError(f"{folder / MANIFEST}: has no tolerance for the test vectors. Copy the artifact again.")
    vectors = read_vectors(folder)
    session = Session(folder / MODEL)
    errors = [difference(session.run(each.inputs), each.output) for each in vectors.each]
    error = next((e for e in errors if not e <= tolerance), max(errors))
    if not error <= tolerance:
        raise ArtifactError(
            f"{folder / MODEL}: its outputs differ from the stored ones by {error:.2%} of their range; at most "
            f"{tolerance:.2%} is expected. Another runtime version or processor may be the reason."
        )
    return Verified(
        files=len(FILES) + 1,
        samples=sum(len(each.output) for each in vectors.each),
        max_error=error,
        tolerance=tolerance,
    )


def load_into(model: nn.Module, folder: str | Path) -> nn.Module:
    """Returns a copy of a model with an artifact's weights: the compressed PyTorch model, without pickle.

    Args:
        model: built by the same code as the original; its own weights do not matter. Where a pruned model was
            compressed further, that is the pruned model: `load_pruned(its folder, original).model`.
        folder: the artifact, or a folder that `Pruned.save` wrote.

    Raises:
        ArtifactError: the artifact is damaged, or of another model.
    """
    folder = Path(folder)
    if (folder / DESCRIPTION).exists():
        return load_pruned(folder, model).model
    check_files(folder)
    try:
        return load_state(folder, model)[0]
    except UsageError as error:
        raise ArtifactError(
            f"{folder}: was made from another model than this {type(model).__name__}. {error} If that one was pruned "
            "before, pass the pruned model: laconic.load_pruned(its folder, original).model."
        ) from error
