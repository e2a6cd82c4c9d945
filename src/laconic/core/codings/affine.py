"""The affine integer grid: `weight = scale * (code - zero_point)`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core.bits import pack, packed_size, unpack
from laconic.core.blocks import Blocks
from laconic.core.coding import Codes, Coding
from laconic.core.errors import check_whole, invalid


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class AffineGrid(Coding):
    """A tensor on evenly spaced values, one scale (and zero point) a block.

    `weight = scale * (code - zero_point)`, with `code` in `[lowest, lowest + 2**bits - 1]`: signed and without zero
    point when symmetric (`lowest = -2**(bits - 1)`), unsigned otherwise (`lowest = 0`), so that zero is always exact.

    Args:
        bits: 2 to 8.
        blocks: which elements share a scale.
        scale: float32 or float16 `[blocks.count]`; may be negative, which turns the one extra negative level around.
        zero_point: uint8 `[blocks.count]`, or None for a symmetric grid.
        codes: uint8, `code - lowest` in row-major order, packed.

    Guarantees:
        A weight inside the grid's range moves by at most half a step.
    """

    kind: ClassVar[str] = "affine"
    bits: int
    blocks: Blocks
    scale: Tensor
    zero_point: Tensor | None
    codes: Tensor

    def __post_init__(self) -> None:
        check_whole("AffineGrid.bits", self.bits, 2, 8)
        lengths = {"scale": self.blocks.count, "codes": packed_size(math.prod(self.shape), self.bits)}
        if self.zero_point is not None:
            lengths["zero_point"] = self.blocks.count
        for name, length in lengths.items():
            if getattr(self, name).shape != (length,):
                raise invalid(f"AffineGrid.{name}", list(getattr(self, name).shape), f"the shape [{length}]")
        if self.scale.dtype not in (torch.float32, torch.float16):
            raise invalid("AffineGrid.scale", str(self.scale.dtype), "float32 or float16")
        wrong = self.scale[~self.scale.isfinite() | (self.scale == 0)]
        if len(wrong):
            raise invalid("AffineGrid.scale", wrong[0].item(), "finite numbers that are not zero")

    @classmethod
    def fit(cls, weight: Tensor, *, bits: int, blocks: Blocks, scale: Tensor, zero_point: Tensor | None) -> Self:
        """Rounds a weight to the nearest points of a given grid.

        Args:
            weight: shape `blocks.shape`.
            bits: 2 to 8.
            blocks: which elements share a scale.
            scale: `[blocks.count]`, not zero; stored in float16 if given in it, else in float32.
            zero_point: `[blocks.count]`, whole numbers in `[0, 2**bits - 1]`, or None for a symmetric grid.

        Raises:
            UsageError: a setting is outside its domain, or the weight is not finite.
        """
        zero = None if zero_point is None else zero_point.to("cpu", torch.uint8)
        blank = torch.zeros(packed_size(math.prod(blocks.shape), bits), dtype=torch.uint8)
        scale = scale.cpu() if scale.dtype == torch.float16 else scale.cpu().float()
        return cls(bits=bits, blocks=blocks, scale=scale, zero_point=zero, codes=blank).encode(weight)

    @property
    def symmetric(self) -> bool:
        """Whether the grid is signed and centred on zero."""
        return self.zero_point is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.blocks.shape

    @property
    def coded(self) -> Codes:
        """The codes."""
        return Codes("codes", self.bits)

    @property
    def lowest(self) -> int:
        """The smallest code."""
        return -(2 ** (self.bits - 1)) if self.symmetric else 0

    def _offset(self, device: torch.device) -> Tensor:
        zero = torch.zeros(self.blocks.count) if self.zero_point is None else self.zero_point.float()
        return zero[:, None].to(device)

    def integers(self) -> Tensor:
        """Returns the codes unpacked, int16, in the weight's shape."""
        codes = unpack(self.codes, self.bits, math.prod(self.shape))
        return codes.view(self.shape).to(torch.int16) + self.lowest

    def round(self, weight: Tensor) -> Tensor:
        """Returns the codes (not packed, float32, as `[blocks.count, blocks.length]`) nearest to a weight."""
        scaled = self.blocks.split(weight.float()) / self.scale[:, None].to(weight.device)
        highest = self.lowest + 2**self.bits - 1
        return (scaled + self._offset(weight.device)).round().clamp(self.lowest, highest)

    def project(self, weight: Tensor) -> Tensor:
        """Returns the decoded nearest point, on the weight's device: `encode(weight).decode()` without packing."""
        codes = self.round(weight) - self._offset(weight.device)
        return self.blocks.join(codes * self.scale[:, None].to(weight.device))

    def encode(self, weight: Tensor) -> Self:
        """Rounds another weight to the nearest points of this grid."""
        if not weight.isfinite().all():
            raise invalid("AffineGrid.encode", "a weight with NaN or infinity", "finite numbers")
        codes = self.blocks.join(self.round(weight.detach())) - self.lowest
        return replace(self, codes=pack(codes.to("cpu", torch.uint8), self.bits))

    def decode(self) -> Tensor:
        """Returns `scale * (code - zero_point)`, float32."""
        codes = self.blocks.split(self.integers().float()) - self._offset(self.scale.device)
        return self.blocks.join(codes * self.scale[:, None]).contiguous()

    def config(self) -> dict[str, Any]:
        """Returns bits and blocks."""
        return {"bits": self.bits, **self.blocks.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns packed codes, scales and, where there are any, zero points."""
        zero = {} if self.zero_point is None else {"zero_point": self.zero_point}
        return {"codes": self.codes, "scale": self.scale, **zero}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        format_ = dict(config)
        return cls(
            bits=format_.pop("bits"),
            blocks=Blocks.from_config(format_),
            scale=tensors["scale"],
            zero_point=tensors.get("zero_point"),
            codes=tensors["codes"],
        )

    def __str__(self) -> str:
        return f"{self.bits}-bit {'symmetric' if self.symmetric else 'asymmetric'} grid {self.blocks}"
