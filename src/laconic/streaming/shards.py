"""A checkpoint in safetensors files, read tensor by tensor."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from laconic.core.errors import ArtifactError
from laconic.core.files import read_json

INDEX = "*.safetensors.index.json"


@final
@dataclass(frozen=True)
class Shards:
    """Which file of a folder holds which tensor.

    Args:
        files: paths by tensors' names.
    """

    files: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Looks at a folder: at its index as Hugging Face writes it, else into every safetensors file.

        Raises:
            ArtifactError: there are none, or one is missing or damaged.
        """
        index = next(iter(sorted(folder.glob(INDEX))), None)
        if index is not None:
            return cls(_indexed(index))
        found = {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}
        if not found:
            raise ArtifactError(f"{folder}: holds no safetensors files; expected a checkpoint. Convert it first.")
        return cls(found)

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """Reads some tensors, in memory of their own; files are open only meanwhile.

        Raises:
            ArtifactError: one is not there, or its file is damaged.
        """
        found: dict[str, Tensor] = {}
        for path in dict.fromkeys(self._file(name) for name in names):
            try:
                with safe_open(path, framework="pt") as file:
                    # A clone, since what is read looks into the file: all of it would stay in memory.
                    found |= {name: file.get_tensor(name).clone() for name in names if self.files[name] == path}
            except (SafetensorError, OSError) as error:
                raise ArtifactError(f"{path}: cannot be read ({error}). Download it again.") from error
        return found

    def _file(self, name: str) -> Path:
        if name not in self.files:
            near = difflib.get_close_matches(name, self.files, n=3, cutoff=0.4)
            hint = f" It has {', '.join(near)}." if near else ""
            raise ArtifactError(f"The checkpoint holds no {name!r}, which the model has.{hint}")
        return self.files[name]


def _indexed(index: Path) -> dict[str, Path]:
    described = read_json(index)
    files = described.get("weight_map") if isinstance(described, dict) else None
    if not isinstance(files, dict) or any(Path(str(name)).name != name for name in files.values()):
        raise ArtifactError(f"{index}: expected a weight_map from tensors to files beside it.")
    return {name: index.parent / file for name, file in files.items()}


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Download it again.") from error
