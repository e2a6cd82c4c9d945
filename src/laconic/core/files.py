"""Files that are whole or absent, and readers that trust nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from laconic.core.errors import ArtifactError


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that a crash at any point leaves the old content or the new, never a part.

    Raises:
        ArtifactError: the folder cannot be written or the disk is full; the message names the file.
    """
    temporary = path.with_name(f".laconic-{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            # After the replacement there is nothing left to remove.
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(
            f"{path}: cannot be written ({reason}). Free some space or choose another folder."
        ) from error


def write_text(path: Path, content: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes readable JSON, whole or not at all."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Returns what `write_json` writes."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file, whole or not at all; tensors that share memory are written each by itself."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if place in places else plain
        places.add(place)
    write_bytes(path, save_tensors(found))


def read_bytes(path: Path) -> bytes:
    """Reads a file.

    Raises:
        ArtifactError: it is missing or cannot be read; the message names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error}).") from error


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        ArtifactError: the file is missing, truncated or not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged, not readable as JSON ({error}).") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file; nothing in it is executed.

    Raises:
        ArtifactError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_tensors(read_bytes(path))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: damaged, not readable as safetensors ({error}).") from error


def sha256(content: bytes) -> str:
    """Returns the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
