"""The contract of a representation: how a tensor is said in fewer bytes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from torch import Tensor

from laconic.core.stored import Stored


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

    @property
    def per_element(self) -> tuple[str, int] | None:
        """Name of the stored tensor that holds one code an element, in row-major order, and the bits of a code.

        Codes of fewer than 8 bits are packed (`core.bits`), integer ones are one-dimensional, floats have the coding's
        shape. None: no tensor is like this. A mask leaves out the codes of zeros, and an entropy coder sees each by
        itself.
        """
        return None

    @property
    def size_bytes(self) -> int:
        """Bytes of what is stored."""
        return sum(t.numel() * t.element_size() for t in self.tensors().values())
