"""Grids that activations are rounded to while a model runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core.errors import check_whole, invalid
from laconic.core.rounding import round_channels, round_to_grid, round_vectors
from laconic.core.stored import Stored, of_kind


class Rounding(Stored):
    """Rounds a tensor; concrete ones are unsigned affine grids, `value = scale * (code - zero_point)`."""

    bits: int

    @property
    def highest(self) -> int:
        """The largest code."""
        return int(2**self.bits - 1)

    @abstractmethod
    def round(self, values: Tensor) -> Tensor:
        """Returns the nearest values on the grid; gradients pass through unchanged inside its range."""

    @abstractmethod
    def __str__(self) -> str:
        """After "rounded to": bits and steps."""


@final
@dataclass(frozen=True, kw_only=True)
class ActivationGrid(Rounding):
    """One grid for a whole tensor; what integer kernels read.

    Args:
        bits: 2 to 8.
        scale: positive.
        zero_point: in `[0, 2**bits - 1]`.
    """

    kind: ClassVar[str] = "tensor"
    bits: int
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        _check("ActivationGrid", self.bits, (self.scale,), (self.zero_point,))

    def round(self, values: Tensor) -> Tensor:
        """Returns the nearest values on the grid; gradients pass through unchanged inside its range."""
        rounded: Tensor = round_to_grid(values, self.scale, self.zero_point, self.highest)
        return rounded

    def config(self) -> dict[str, Any]:
        """Returns all fields."""
        return {"bits": self.bits, "scale": self.scale, "zero_point": self.zero_point}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing: the grid is two numbers."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config`."""
        return cls(bits=config["bits"], scale=config["scale"], zero_point=config["zero_point"])

    def __str__(self) -> str:
        return f"{self.bits} bits in steps of {self.scale:.3g}"


@final
@dataclass(frozen=True, kw_only=True)
class ChannelGrid(Rounding):
    """One grid for each channel: finer where channels reach unequally far, but no integer kernel reads it.

    Args:
        bits: 2 to 8.
        dim: which dimension counts the channels, from the end: negative.
        scale: of each channel, positive.
        zero_point: likewise, in `[0, 2**bits - 1]`.
    """

    kind: ClassVar[str] = "channel"
    bits: int
    dim: int
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]

    def __post_init__(self) -> None:
        _check("ChannelGrid", self.bits, self.scale, self.zero_point)
        if self.dim >= 0:
            raise invalid("ChannelGrid.dim", self.dim, "a negative number", "Count dimensions from the end.")
        if len(self.scale) != len(self.zero_point) or not self.scale:
            counts = f"{len(self.scale)} scales and {len(self.zero_point)} zero points"
            raise invalid("ChannelGrid", counts, "as many of one as of the other, at least one")

    def round(self, values: Tensor) -> Tensor:
        """Returns the nearest values on the grids; gradients pass through unchanged inside each one's range."""
        if values.dim() < -self.dim or values.shape[self.dim] != len(self.scale):
            shape = f"values of shape {list(values.shape)}"
            raise invalid("ChannelGrid.round", shape, f"{len(self.scale)} channels in dimension {self.dim}")
        rounded: Tensor = round_channels(values, self.scale, self.zero_point, self.dim, self.highest)
        return rounded

    def config(self) -> dict[str, Any]:
        """Returns bits and dimension."""
        return {"bits": self.bits, "dim": self.dim}

    def tensors(self) -> dict[str, Tensor]:
        """Returns scales in float64, and zero points."""
        return {
            "scale": torch.tensor(self.scale, dtype=torch.float64),
            "zero_point": torch.tensor(self.zero_point, dtype=torch.uint8),
        }

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        scale, zero = tuple(tensors["scale"].tolist()), tuple(tensors["zero_point"].tolist())
        return cls(bits=config["bits"], dim=config["dim"], scale=scale, zero_point=zero)

    def __str__(self) -> str:
        return f"{self.bits} bits in steps of {min(self.scale):.3g} to {max(self.scale):.3g} a channel"


@final
@dataclass(frozen=True, kw_only=True)
class TokenGrid(Rounding):
    """A grid for each vector along the last dimension, from its smallest to its largest value, found as the model runs.

    Zero is on every grid. Nothing is calibrated, and nothing is ever clipped.

    Args:
        bits: 2 to 8.
    """

    kind: ClassVar[str] = "token"
    bits: int

    def __post_init__(self) -> None:
        _check("TokenGrid", self.bits, (), ())

    def round(self, values: Tensor) -> Tensor:
        """Returns the nearest values on the grids; gradients pass through unchanged."""
        rounded: Tensor = round_vectors(values, self.highest)
        return rounded

    def config(self) -> dict[str, Any]:
        """Returns the bits."""
        return {"bits": self.bits}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing: ranges are found as the model runs."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config`."""
        return cls(bits=config["bits"])

    def __str__(self) -> str:
        return f"{self.bits} bits, the range of each vector found as the model runs"


ALL: tuple[type[Rounding], ...] = (ActivationGrid, ChannelGrid, TokenGrid)


def grid_from_parts(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Rounding:
    """Reads a grid back; `config["per"]` is its kind."""
    return of_kind(ALL, config["per"], "RoundActivation.per").from_parts(config, tensors)


def _check(where: str, bits: int, scales: tuple[float, ...], zeros: tuple[int, ...]) -> None:
    check_whole(f"{where}.bits", bits, 2, 8)
    for scale in scales:
        if not (0 < scale < float("inf")):
            raise invalid(f"{where}.scale", scale, "a positive number")
    for zero in zeros:
        if not 0 <= zero <= 2**bits - 1:
            raise invalid(f"{where}.zero_point", zero, f"a whole number from 0 to {2**bits - 1}")
