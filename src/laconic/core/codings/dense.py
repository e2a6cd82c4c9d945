"""The tensor itself: new values, every one of them stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core.coding import Codes, Coding
from laconic.core.errors import invalid


@final
@dataclass(frozen=True, eq=False)
class Dense(Coding):
    """Values as they are, float32. Says in a plan that a weight was changed without becoming smaller.

    Args:
        values: float32, finite.

    Guarantees:
        Any finite float32 tensor comes back bit for bit.

    Example:
        >>> str(Dense(torch.zeros(2, 3)))
        'dense 2 x 3'
    """

    kind: ClassVar[str] = "dense"
    values: Tensor

    def __post_init__(self) -> None:
        if self.values.dtype != torch.float32 or not bool(self.values.isfinite().all()):
            raise invalid("Dense.values", str(self.values.dtype), "finite float32 numbers")

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """Holds a copy of a tensor."""
        return cls(tensor.detach().to("cpu", torch.float32, copy=True).contiguous())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return tuple(self.values.shape)

    @property
    def coded(self) -> Codes:
        """The values, 32 bits each."""
        return Codes("values", 32)

    def decode(self) -> Tensor:
        """Returns the values."""
        return self.values.clone()

    def encode(self, weight: Tensor) -> Self:
        """Holds another tensor."""
        return self.of(weight)

    def config(self) -> dict[str, Any]:
        """Returns nothing: the values say all."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the values."""
        return {"values": self.values}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `tensors`."""
        return cls(tensors["values"])

    def __str__(self) -> str:
        return f"dense {' x '.join(map(str, self.shape))}".rstrip()
