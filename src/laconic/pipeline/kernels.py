"""What the target does with each weight of an exported model, kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
        dynamic: input -> dimension -> name of its size, where the model takes any.
        largest: name of such a size -> the most that it may be, where there is a limit.
        fixed: name of a size that ought to be so -> why it is not.
    """

    kernels: Mapping[str, str]
    left_float: Mapping[str, str]
    left_whole: Mapping[str, str]
    any_batch: bool
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, exported: Exported) -> Self:
        """Takes them from an export."""
        return cls(
            kernels=exported.kernels,
            left_float=exported.left_float,
            left_whole=exported.left_whole,
            any_batch=exported.dynamic_batch,
            dynamic=exported.dynamic,
            largest=exported.largest,
            fixed=exported.fixed,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        content = read_json(folder / FILE)
        dynamic = {name: {int(dim): size for dim, size in dims.items()} for name, dims in content["dynamic"].items()}
        return cls(**{**content, "dynamic": dynamic})

    def save(self, folder: Path) -> None:
        """Writes them beside the model."""
        write_json(folder / FILE, asdict(self))
