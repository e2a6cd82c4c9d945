"""The contract of a representation: how a tensor is said in fewer bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from laconic.core.blocks import Blocks
from laconic.core.stored import Stored


class Codes(NamedTuple):
    """Which of a coding's tensors holds its codes, in what order.

    Codes of fewer than 8 bits are packed (`core.bits`), integer ones are one-dimensional, floats have the coding's
    shape. A mask leaves out the codes of zeros, and an entropy coder sees each by itself.

    Args:
        name: of the tensor.
        bits: of a code.
        vectors: blocks that have a code each; None: every element has one, in row-major order.
        stages: codes of every vector; all of the first stage come first.
    """

    name: str
    bits: int
    vectors: Blocks | None = None
    stages: int = 1

    def within(self, mask: Tensor) -> Tensor:
        """Returns which codes say anything inside a mask, bool `[codes]`."""
        kept = mask.flatten() if self.vectors is None else self.vectors.split(mask.float()).any(1)
        return kept.repeat(self.stages)

    def config(self) -> dict[str, Any]:
        """Returns all fields as JSON values."""
        vectors = None if self.vectors is None else self.vectors.config()
        return {"name": self.name, "bits": self.bits, "vectors": vectors, "stages": self.stages}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Undoes `config`."""
        vectors = config["vectors"]
        blocks = None if vectors is None else Blocks.from_config(vectors)
        return cls(config["name"], config["bits"], blocks, config["stages"])


class Coding(Stored):
    """One tensor in another representation. Immutable; concrete codings are final.

    Guarantees (the contract suite in `tests/core/test_coding_contract.py`, over every coding):
        `decode()` has the original's shape, is finite float32, and is the same on every machine.
        `encode(decode())` decodes to the same tensor.
        `from_parts(config(), tensors())` decodes to the same tensor, bit for bit.
        `size_bytes` is the sum of the bytes of `tensors()`.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""

    @abstractmethod
    def decode(self) -> Tensor:
        """Returns the tensor that this coding stands for, float32."""

    @abstractmethod
    def encode(self, weight: Tensor) -> Self:
        """Codes another tensor of the same shape in the same format: same grid, new codes."""

    def project(self, weight: Tensor) -> Tensor:
        """Returns `encode(weight).decode()` on the weight's device; training under a coding does this every step."""
        return self.encode(weight).decode().to(weight.device)

    def encode_within(self, weight: Tensor, mask: Tensor) -> Self:
        """Codes another tensor where a mask, bool of its shape, says that it counts."""
        return self.encode(torch.where(mask, weight, 0.0))

    @property
    def coded(self) -> Codes | None:
        """Where the codes of elements, or of vectors of them, are; None: no tensor is like this."""
        return None

    @property
    def size_bytes(self) -> int:
        """Bytes of what is stored."""
        return sum(t.numel() * t.element_size() for t in self.tensors().values())
