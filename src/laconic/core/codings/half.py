"""Half precision: two bytes a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core.coding import Codes, Coding
from laconic.core.errors import invalid

LARGEST = torch.finfo(torch.float16).max


@final
@dataclass(frozen=True, eq=False)
class Half(Coding):
    """Values rounded to float16; beyond 65,504 the largest value of that sign.

    Args:
        values: float16, finite.

    Guarantees:
        A value whose size is from 6.2e-5 to 65,504 moves by at most one part in 2,048.

    Example:
        >>> Half.of(torch.tensor([0.1, 1e6])).decode().tolist()
        [0.0999755859375, 65504.0]
    """

    kind: ClassVar[str] = "half"
    values: Tensor

    def __post_init__(self) -> None:
        if self.values.dtype != torch.float16 or not bool(self.values.isfinite().all()):
            raise invalid("Half.values", str(self.values.dtype), "finite float16 numbers")

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """Rounds a tensor.

        Raises:
            UsageError: it holds NaN or infinity.
        """
        values = tensor.detach().to("cpu", torch.float32)
        if not bool(values.isfinite().all()):
            raise invalid("Half.of", "a weight with NaN or infinity", "finite numbers")
        return cls(values.clamp(-LARGEST, LARGEST).half().contiguous())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return tuple(self.values.shape)

    @property
    def coded(self) -> Codes:
        """The values, 16 bits each."""
        return Codes("values", 16)

    def decode(self) -> Tensor:
        """Returns the values, float32."""
        return self.values.float()

    def encode(self, weight: Tensor) -> Self:
        """Rounds another tensor."""
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
        return f"float16 {' x '.join(map(str, self.shape))}".rstrip()
