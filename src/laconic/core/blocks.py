"""Which elements of a weight share one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from laconic.core.errors import invalid


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Cuts a tensor into equal blocks, each with parameters of its own.

    Args:
        shape: the tensor's shape.
        axis: None for one block in all, else the dimension whose every index is a block (a channel).
        group_size: None, or the elements of a channel that form a block; the last one of a channel is padded.

    Example:
        >>> Blocks(shape=(4, 6)).count, Blocks(shape=(4, 6), axis=0).count
        (1, 4)
        >>> Blocks(shape=(4, 6), axis=0, group_size=4).count
        8
    """

    shape: tuple[int, ...]
    axis: int | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.axis is not None and not 0 <= self.axis < len(self.shape):
            raise invalid("Blocks.axis", self.axis, f"None or a dimension of {list(self.shape)}")
        if self.group_size is not None and (self.axis is None or self.group_size < 1):
            raise invalid("Blocks.group_size", self.group_size, "None, or a positive number beside an axis")

    @property
    def channels(self) -> int:
        """Number of channels: 1 without an axis."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def per_channel(self) -> int:
        """Elements of one channel."""
        return math.prod(s for i, s in enumerate(self.shape) if i != self.axis)

    @property
    def length(self) -> int:
        """Elements of one block, padding included."""
        return self.group_size or self.per_channel

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.channels * self._groups

    @property
    def _groups(self) -> int:
        return 1 if self.group_size is None else math.ceil(self.per_channel / self.group_size)

    @property
    def missing(self) -> int:
        """Elements by which the last block of a channel is padded."""
        return self._groups * self.length - self.per_channel

    @property
    def said_of_padding(self) -> str:
        """How the padding is said to people; empty where there is none."""
        return f" (a channel's last one holds {self.length - self.missing}, padded)" if self.missing else ""

    def split(self, tensor: Tensor) -> Tensor:
        """Returns the tensor as `[count, length]`; padding is zero."""
        moved = tensor if self.axis is None else tensor.movedim(self.axis, 0)
        rows = moved.reshape(self.channels, self.per_channel)
        padded = functional.pad(rows, (0, self.missing)) if self.missing else rows
        return padded.reshape(self.count, self.length)

    def join(self, blocks: Tensor) -> Tensor:
        """Undoes `split`."""
        rows = blocks.reshape(self.channels, self._groups * self.length)[:, : self.per_channel]
        if self.axis is None:
            return rows.reshape(self.shape)
        moved = (self.shape[self.axis], *(s for i, s in enumerate(self.shape) if i != self.axis))
        return rows.reshape(moved).movedim(0, self.axis)

    def config(self) -> dict[str, Any]:
        """Returns what `Blocks(**config)` needs, as JSON values."""
        return {"shape": list(self.shape), "axis": self.axis, "group_size": self.group_size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Blocks:
        """Undoes `config`."""
        return cls(shape=tuple(config["shape"]), axis=config["axis"], group_size=config["group_size"])

    def __str__(self) -> str:
        if self.group_size is not None:
            return f"per group of {self.group_size}{self.said_of_padding}"
        return "per tensor" if self.axis is None else "per channel"
