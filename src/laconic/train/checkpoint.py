"""A run on disk: one safetensors file, whole or not at all, refused when it is damaged or another run's."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from laconic.core.errors import ArtifactError, TrainingError
from laconic.core.files import read_bytes, sha256, write_bytes
from laconic.train.state import flatten, unflatten

FILE_NAME = "checkpoint.safetensors"


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes nested state of tensors and scalars, so that a crash leaves the old checkpoint or the new one.

    Raises:
        ArtifactError: the folder cannot be written or the disk is full.
        TrainingError: something in the state is neither tensor nor scalar.
    """
    tensors, skeleton = flatten(dict(state))
    text = json.dumps(skeleton)
    write_bytes(path, save(tensors, metadata={"state": text, "crc32": _checksum(tensors, text)}))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns what `write_checkpoint` was given; nothing in the file is executed.

    Raises:
        ArtifactError: the file is missing, truncated, or differs in a single bit.
    """
    content = read_bytes(path)
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        text, checksum = (header["__metadata__"][key] for key in ("state", "crc32"))
        if checksum != _checksum(tensors, text):
            raise ValueError("the checksum does not fit")
        state: dict[str, Any] = unflatten(tensors, json.loads(text))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path}: damaged, not readable as a checkpoint ({error}). Delete it, or pass resume=False, to start anew."
        ) from error
    return state


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    crc = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def identity(model: nn.Module, **words: str) -> dict[str, str]:
    """Returns what tells one run from another: the model's names and shapes, and the given words."""
    shapes = [[name, list(t.shape), str(t.dtype)] for name, t in model.state_dict().items() if isinstance(t, Tensor)]
    return {"model": f"tensors {sha256(json.dumps(shapes).encode())[:16]}", **words}


def check_identity(path: Path, saved: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raises a `TrainingError` that names the first difference, if a checkpoint is not this run's."""
    for key in [*ours, *saved]:
        if saved.get(key) != ours.get(key):
            raise TrainingError(
                f"{path}: the checkpoint of another run: its {key} was {saved.get(key)}, now it is {ours.get(key)}. "
                "Use another work folder, or pass resume=False to start anew."
            )
