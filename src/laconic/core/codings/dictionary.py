"""Vectors of weights as combinations of few atoms of a learnt dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.bits import pack, packed_size, unpack
from laconic.core.coding import Coding
from laconic.core.errors import invalid
from laconic.core.layout import Layout
from laconic.core.pursuit import pursue

FLOATS = (torch.float32, torch.float16)
LARGEST = torch.finfo(torch.float32).max


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Dictionary(Coding):
    """A tensor whose vectors are `amounts[0] * atoms[codes[0]] + amounts[1] * atoms[codes[1]] + ...`.

    Args:
        layout: the matrices whose rows are cut into vectors, `[groups, rows, columns]`.
        atoms: `[2 to 256 atoms, length]`, float32 or float16; `length` consecutive columns are a vector, the last one
            of a row is padded.
        amounts: `[vectors, nonzeros]`, float32 or float16, vectors in row-major order.
        codes: which atoms, packed, in the order of `amounts`.

    Guarantees:
        A vector that codes and amounts already give stays exactly.

    Reference:
        Aharon, Elad and Bruckstein 2006 (dictionaries of which each vector takes few atoms); Bagherinezhad et al. 2017,
        arXiv:1611.06473 (for the weights of networks).
    """

    kind: ClassVar[str] = "dictionary"
    layout: Layout
    atoms: Tensor
    amounts: Tensor
    codes: Tensor

    def __post_init__(self) -> None:
        if self.atoms.dim() != 2 or not 2 <= len(self.atoms) <= 256 or not self.atoms.shape[1]:
            raise invalid("Dictionary.atoms", list(self.atoms.shape), "[2 to 256 atoms, at least one column]")
        if self.amounts.dim() != 2 or len(self.amounts) != self.vectors:
            raise invalid("Dictionary.amounts", list(self.amounts.shape), f"[{self.vectors} vectors, nonzeros]")
        if not 1 <= self.nonzeros <= len(self.atoms):
            raise invalid("Dictionary.amounts", self.nonzeros, f"1 to {len(self.atoms)} atoms of a vector")
        size = packed_size(self.amounts.numel(), self.bits)
        if tuple(self.codes.shape) != (size,):
            raise invalid("Dictionary.codes", list(self.codes.shape), f"{size} bytes")
        for name, numbers in (("atoms", self.atoms), ("amounts", self.amounts)):
            if numbers.dtype not in FLOATS or not bool(numbers.isfinite().all()):
                raise invalid(f"Dictionary.{name}", str(numbers.dtype), "finite float32 or float16 numbers")

    @classmethod
    def of(cls, *, layout: Layout, atoms: Tensor, amounts: Tensor, codes: Tensor) -> Self:
        """Packs codes.

        Args:
            layout: as above.
            atoms: as above.
            amounts: as above.
            codes: int64 `[vectors, nonzeros]`, each below the number of atoms.
        """
        return cls(layout=layout, atoms=atoms, amounts=amounts, codes=_packed(codes, len(atoms)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.layout.shape

    @property
    def vectors(self) -> int:
        """How many there are."""
        groups, rows, columns = self.layout.matrix
        return groups * rows * -(-columns // self.atoms.shape[1])

    @property
    def nonzeros(self) -> int:
        """Atoms of a vector."""
        return self.amounts.shape[1]

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (len(self.atoms) - 1).bit_length()

    def decode(self) -> Tensor:
        """Returns the sums of atoms, float32."""
        return self._joined(self._sums())

    def encode(self, weight: Tensor) -> Self:
        """Chooses atoms and amounts for another weight by matching pursuit."""
        if not bool(weight.isfinite().all()):
            raise invalid("Dictionary.encode", "a weight with NaN or infinity", "finite numbers")
        values = self._cut(weight.detach().cpu().float())
        there = self._cut(torch.ones(self.shape)) != 0
        codes, amounts = pursue(values, self.atoms, self.nonzeros)
        amounts = stored(amounts, self.amounts.dtype)
        same = ((self._sums() == values) | ~there).all(1, keepdim=True)
        codes = torch.where(same, self.integers(), codes)
        return replace(self, amounts=torch.where(same, self.amounts, amounts), codes=_packed(codes, len(self.atoms)))

    def integers(self) -> Tensor:
        """Returns the codes unpacked, int64 `[vectors, nonzeros]`."""
        return unpack(self.codes, self.bits, self.amounts.numel()).long().view(self.amounts.shape)

    def _sums(self) -> Tensor:
        """The vectors, float32 `[vectors, length]`; in float64 on the way, atom by atom."""
        atoms, amounts, codes = self.atoms.double(), self.amounts.double(), self.integers()
        total = torch.zeros(self.vectors, atoms.shape[1], dtype=torch.float64)
        for place in range(self.nonzeros):
            total = total + amounts[:, place, None] * atoms[codes[:, place]]
        return total.clamp(-LARGEST, LARGEST).float()

    def _cut(self, tensor: Tensor) -> Tensor:
        matrix, length = self.layout.view(tensor), self.atoms.shape[1]
        return functional.pad(matrix, (0, -matrix.shape[2] % length)).reshape(-1, length)

    def _joined(self, vectors: Tensor) -> Tensor:
        groups, rows, columns = self.layout.matrix
        width = -(-columns // self.atoms.shape[1]) * self.atoms.shape[1]
        return self.layout.restore(vectors.reshape(groups, rows, width)[:, :, :columns]).contiguous()

    def config(self) -> dict[str, Any]:
        """Returns the layout."""
        return {"layout": self.layout.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns atoms, amounts and packed codes."""
        return {"atoms": self.atoms, "amounts": self.amounts, "codes": self.codes}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        atoms, amounts, codes = (tensors[name] for name in ("atoms", "amounts", "codes"))
        return cls(layout=Layout.from_config(config["layout"]), atoms=atoms, amounts=amounts, codes=codes)

    def __str__(self) -> str:
        return f"{self.nonzeros} of {len(self.atoms)} atoms for every {self.atoms.shape[1]} weights"


def stored(amounts: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns numbers rounded to a type, beyond its range its largest ones."""
    largest = torch.finfo(dtype).max
    return amounts.clamp(-largest, largest).to(dtype)


def _packed(codes: Tensor, atoms: int) -> Tensor:
    return pack(codes.to(torch.uint8), (atoms - 1).bit_length())
