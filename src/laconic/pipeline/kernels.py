"""What the target does with each weight of an exported model, kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from laconic.core.files import read_json, write_json
from laconic.export.onnxruntime import Exported

FILE = "kernels.json"


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """How an exported model runs, by parameter.

    Args:
        kernels: the operators that multiply with it.
        left_float: why a layer that was meant to run on integers runs in float.
        left_whole: why a recoded weight is in the file as float numbers.
        any_batch: whether the model takes any number of samples at once.
    """

    kernels: Mapping[str, str]
    left_float: Mapping[str, str]
    left_whole: Mapping[str, str]
    any_batch: bool

    @classmethod
    def of(cls, exported: Exported) -> Self:
        """Takes them from an export."""
        return cls(
            kernels=exported.kernels,
            left_float=exported.left_float,
            left_whole=exported.left_whole,
            any_batch=exported.dynamic_batch,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        return cls(**read_json(folder / FILE))

    def save(self, folder: Path) -> None:
        """Writes them beside the model."""
        write_json(folder / FILE, asdict(self))
