"""Zeros that are not stored, and another coding for the values between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core import codings, positions
from laconic.core.bits import pack, unpack
from laconic.core.coding import Codes, Coding
from laconic.core.codings.dense import Dense
from laconic.core.errors import invalid
from laconic.core.layout import Layout
from laconic.core.positions import Combinations, Positions, fewest
from laconic.core.stored import of_kind


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sparse(Coding):
    """A mask, and a coding whose codes are stored only where the mask keeps something.

    Everything else the inner coding stores (scales, zero points, a codebook) stays whole. What the mask keeps may be
    zero too; what it does not keep is zero whatever is encoded later.

    Args:
        inner: of the whole tensor; what it says outside the mask does not count.
        layout: the matrices in which the mask has a pattern.
        block: rows and columns that are kept or left out together; blocks at the edges may be cut off.
        positions: which blocks are kept, over the blocks in row-major order. `Combinations` are over columns padded to
            a multiple of their groups.

    Guarantees:
        `decode()` is zero outside the mask, and what the inner coding says inside.
        Training under it keeps the zeros.

    Reference:
        Han, Mao and Dally 2016, arXiv:1510.00149 (mask, then a codebook for what is left).

    Example:
        >>> coding = Sparse.of(torch.tensor([[0.0, 2.0, 0.0, 0.0], [3.0, 0.0, 0.0, 4.0]]))
        >>> str(coding), coding.size_bytes
        ('62.5 % zeros by bitmap, rest dense 2 x 4', 13)
    """

    kind: ClassVar[str] = "sparse"
    inner: Coding
    layout: Layout
    block: tuple[int, int]
    positions: Positions

    def __post_init__(self) -> None:
        if self.layout.shape != self.inner.shape:
            raise invalid("Sparse.layout", list(self.layout.shape), f"the shape {list(self.inner.shape)}")
        if min(self.block) < 1:
            raise invalid("Sparse.block", self.block, "two positive numbers")
        count = math.prod(self._units)
        if self.positions.count != count:
            raise invalid("Sparse.positions", self.positions.count, f"{count} blocks")

    @classmethod
    def of(
        cls,
        weight: Tensor,
        mask: Tensor | None = None,
        *,
        inner: Coding | None = None,
        layout: Layout | None = None,
        block: tuple[int, int] = (1, 1),
        n_of_m: tuple[int, int] | None = None,
    ) -> Self:
        """Leaves out what a mask does not keep.

        Args:
            weight: finite.
            mask: bool, of its shape, constant over each block; None: the weight's own non-zeros.
            inner: a coding of the same shape, used for its format; None: float32 values.
            layout: None: the first dimension counts rows.
            block: rows and columns of a block.
            n_of_m: `(n, m)`: the mask keeps exactly `n` of every `m` columns in a row, and says so in fewer bits.

        Raises:
            UsageError: a mask that does not fit the pattern, or a weight that is not finite.
        """
        weight = weight.detach()
        mask = (weight != 0) if mask is None else mask
        layout = Layout.rows(tuple(weight.shape)) if layout is None else layout
        units = _units(layout.view(mask.cpu()), block)
        taken: Positions
        if n_of_m is None:
            taken = fewest(units.flatten())
        else:
            taken = Combinations.of(_filled(units, *n_of_m).flatten(), n=n_of_m[0], m=n_of_m[1])
        inner = Dense.of(torch.zeros_like(weight)) if inner is None else inner
        coding = cls(inner=inner, layout=layout, block=block, positions=taken)
        if not torch.equal(coding.mask, mask.cpu()):
            raise invalid(
                "Sparse.of", "a mask that cuts through blocks", f"one that is constant over blocks of {block}"
            )
        return coding.encode(weight)

    @classmethod
    def around(cls, inner: Coding, mask: Tensor) -> Self:
        """Leaves out what a mask, bool of its shape, does not keep of a coding, whose codes stay as they are."""
        layout = Layout.rows(inner.shape)
        return cls(inner=inner, layout=layout, block=(1, 1), positions=fewest(layout.view(mask.cpu()).flatten()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.layout.shape

    @property
    def sparsity(self) -> float:
        """Share of the elements that are not stored."""
        return 1 - float(self.mask.double().mean()) if self.mask.numel() else 0.0

    @property
    def _units(self) -> tuple[int, int, int]:
        groups, rows, columns = self.layout.matrix
        width = self.positions.m if isinstance(self.positions, Combinations) else 1
        return groups, -(-rows // self.block[0]), -(-columns // self.block[1] // width) * width

    @cached_property
    def mask(self) -> Tensor:
        """Which elements are stored, bool, of the tensor's shape."""
        _, rows, columns = self.layout.matrix
        units = self.positions.taken().view(self._units)
        spread = units.repeat_interleave(self.block[0], 1).repeat_interleave(self.block[1], 2)
        return self.layout.restore(spread[:, :rows, :columns]).contiguous()

    def decode(self) -> Tensor:
        """Returns the inner coding's values inside the mask and zeros outside, float32."""
        return torch.where(self.mask, self.inner.decode(), 0.0)

    def encode(self, weight: Tensor) -> Self:
        """Codes another weight with the same mask."""
        if not bool(weight.isfinite().all()):
            raise invalid("Sparse.encode", "a weight with NaN or infinity", "finite numbers")
        return replace(self, inner=self.inner.encode_within(weight, self.mask.to(weight.device)))

    def project(self, weight: Tensor) -> Tensor:
        """Returns the projection by the inner coding, zero outside the mask, on the weight's device."""
        if self.inner.coded is not None and self.inner.coded.vectors is not None:
            return self.encode(weight).decode().to(weight.device)  # A word is chosen by what the mask keeps of it.
        return self._masked(self.inner.project(self._masked(weight)))

    def _masked(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask.to(weight.device), weight, 0.0)

    def config(self) -> dict[str, Any]:
        """Returns the inner coding's kind and format, the layout, and the format of the positions."""
        return {
            "coding": self.inner.kind,
            "format": self.inner.config(),
            "codes": None if self.inner.coded is None else self.inner.coded.config(),
            "layout": self.layout.config(),
            "block": list(self.block),
            "positions": {"kind": self.positions.kind, **self.positions.config()},
        }

    def tensors(self) -> dict[str, Tensor]:
        """Returns the inner coding's tensors, codes only for what the mask keeps something of, and the positions."""
        kept, codes = self.inner.tensors(), self.inner.coded
        if codes is not None:
            kept = {**kept, codes.name: _kept(kept[codes.name], codes.bits, codes.within(self.mask))}
        places = {f"positions.{name}": t for name, t in self.positions.tensors().items()}
        return {f"inner.{name}": t for name, t in kept.items()} | places

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        layout, described = Layout.from_config(config["layout"]), dict(config["positions"])
        format_ = of_kind(positions.ALL, described.pop("kind"), "Sparse.positions")
        taken = format_.from_parts(described, _under("positions", tensors))
        blank = cls(
            inner=Dense.of(torch.zeros(layout.shape)),
            layout=layout,
            block=(config["block"][0], config["block"][1]),
            positions=taken,
        )
        parts = _under("inner", tensors)
        if config["codes"] is not None:
            codes = Codes.from_config(config["codes"])
            parts[codes.name] = _spread(parts[codes.name], codes.bits, codes.within(blank.mask), layout.shape)
        kind = of_kind(codings.ALL, config["coding"], "Sparse.coding")
        return replace(blank, inner=kind.from_parts(config["format"], parts))

    def __str__(self) -> str:
        blocks = "" if self.block == (1, 1) else f"{self.block[0]} x {self.block[1]} blocks of "
        return f"{100 * self.sparsity:.3g} % {blocks}zeros by {self.positions}, rest {self.inner}"


def _units(mask: Tensor, block: tuple[int, int]) -> Tensor:
    """Returns which blocks of a mask `[groups, rows, columns]` hold anything."""
    groups, rows, columns = mask.shape
    padded = functional.pad(mask, (0, -columns % block[1], 0, -rows % block[0]))
    blocks = padded.reshape(groups, -(-rows // block[0]), block[0], -(-columns // block[1]), block[1])
    return blocks.any(4).any(2)


def _filled(units: Tensor, n: int, m: int) -> Tensor:
    """Returns columns padded to a multiple of `m`; the padding takes what the last group of a row has too little."""
    padded = functional.pad(units, (0, -units.shape[2] % m))
    missing = n - padded.reshape(*units.shape[:2], -1, m).sum(3)[:, :, -1:]
    last = torch.arange(padded.shape[2]) - units.shape[2]
    return padded | ((last >= 0) & (last < missing))


def _kept(codes: Tensor, bits: int, within: Tensor) -> Tensor:
    """Returns the codes that count; those of fewer than 8 bits are packed before and after."""
    if bits < 8:
        return pack(unpack(codes, bits, len(within))[within], bits)
    return codes.flatten()[within]


def _spread(kept: Tensor, bits: int, within: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undoes `_kept`, with zeros for all others. Values take a shape, integer codes have one dimension."""
    stored = unpack(kept, bits, int(within.sum())) if bits < 8 else kept
    codes = torch.zeros(len(within), dtype=kept.dtype).masked_scatter_(within, stored)
    if bits < 8:
        return pack(codes, bits)
    return codes.view(shape) if codes.is_floating_point() else codes


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
