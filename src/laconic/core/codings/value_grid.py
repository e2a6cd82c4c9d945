"""A table of values, scaled block by block: `weight = scale * values[code]`."""

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
from laconic.core.errors import invalid
from laconic.core.formats import KNOWN, Format

SMALLEST, LARGEST = 1e-25, 1e25  # Of a scale: its products with a format's values stay normal numbers.
EXPONENT_BIAS = 127


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ValueGrid(Coding):
    """A tensor whose elements are values of a small number format, times one scale a block.

    Args:
        format: the values; stored by name if it is one of `formats.KNOWN`, as a table otherwise.
        blocks: which elements share a scale.
        scale: `[blocks.count]`, positive: float32, float16, or uint8 for powers of two `2**(scale - 127)` (E8M0).
        codes: places in the format's table, in row-major order, packed.

    Guarantees:
        Every element is the one nearest to the weight, among its block's values.

    Reference:
        OCP Microscaling Formats specification 1.0, section 5.2 (E8M0); others with each format in `core.formats`.
    """

    kind: ClassVar[str] = "values"
    format: Format
    blocks: Blocks
    scale: Tensor
    codes: Tensor

    def __post_init__(self) -> None:
        expected = {"scale": self.blocks.count, "codes": packed_size(math.prod(self.shape), self.format.bits)}
        for name, length in expected.items():
            if getattr(self, name).shape != (length,):
                raise invalid(f"ValueGrid.{name}", list(getattr(self, name).shape), f"the shape [{length}]")
        if self.scale.dtype not in (torch.float32, torch.float16, torch.uint8):
            raise invalid("ValueGrid.scale", str(self.scale.dtype), "float32, float16 or uint8")
        steps = self.steps
        wrong = steps[~((steps >= SMALLEST) & (steps <= LARGEST))]
        if len(wrong):
            raise invalid("ValueGrid.scale", wrong[0].item(), f"numbers from {SMALLEST} to {LARGEST}")

    @classmethod
    def fit(cls, weight: Tensor, *, format: Format, blocks: Blocks, scale: Tensor) -> Self:
        """Rounds a weight to the nearest values of given blocks.

        Args:
            weight: shape `blocks.shape`.
            format: the values.
            blocks: which elements share a scale.
            scale: `[blocks.count]`, as it is stored.

        Raises:
            UsageError: a scale is outside its domain, or the weight is not finite.
        """
        blank = torch.zeros(packed_size(math.prod(blocks.shape), format.bits), dtype=torch.uint8)
        return cls(format=format, blocks=blocks, scale=scale.cpu(), codes=blank).encode(weight)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.blocks.shape

    @property
    def steps(self) -> Tensor:
        """The scales as float32 `[blocks.count]`."""
        if self.scale.dtype == torch.uint8:
            return (self.scale.int() << 23).view(torch.float32)  # the exponent's place in a float32
        return self.scale.float()

    @property
    def coded(self) -> Codes:
        """The codes, and the bits of each."""
        return Codes("codes", self.format.bits)

    def integers(self) -> Tensor:
        """Returns the codes unpacked, uint8, in the weight's shape."""
        return unpack(self.codes, self.format.bits, math.prod(self.shape)).view(self.shape)

    def round(self, weight: Tensor) -> Tensor:
        """Returns the codes (int64, `[blocks.count, blocks.length]`) of the values nearest to a weight."""
        scaled = self.blocks.split(weight.float()) / self.steps[:, None].to(weight.device)
        return torch.bucketize(scaled.contiguous(), midpoints(self.format).to(weight.device))

    def project(self, weight: Tensor) -> Tensor:
        """Returns the decoded nearest values, on the weight's device: `encode(weight).decode()` without packing."""
        values = self.format.table.to(weight.device)[self.round(weight)]
        return self.blocks.join(values * self.steps[:, None].to(weight.device))

    def encode(self, weight: Tensor) -> Self:
        """Rounds another weight to the nearest values of the same blocks."""
        if not weight.isfinite().all():
            raise invalid("ValueGrid.encode", "a weight with NaN or infinity", "finite numbers")
        codes = self.blocks.join(self.round(weight.detach()))
        return replace(self, codes=pack(codes.to("cpu", torch.uint8), self.format.bits))

    def decode(self) -> Tensor:
        """Returns `scale * values[code]`, float32."""
        values = self.format.table[self.blocks.split(self.integers()).long()]
        return self.blocks.join(values * self.steps[:, None]).contiguous()

    def config(self) -> dict[str, Any]:
        """Returns the format's name and the blocks."""
        return {"format": self.format.name, **self.blocks.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns packed codes, scales and, unless their name says them, the values."""
        values = {} if self.format in KNOWN else {"values": self.format.table}
        return {"codes": self.codes, "scale": self.scale, **values}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        settings = dict(config)
        name = settings.pop("format")
        format_ = Format(name, tuple(tensors["values"].tolist())) if "values" in tensors else _known(name)
        blocks = Blocks.from_config(settings)
        return cls(format=format_, blocks=blocks, scale=tensors["scale"], codes=tensors["codes"])

    def __str__(self) -> str:
        power = " times a power of two" if self.scale.dtype == torch.uint8 else ""
        return f"{self.format} values{power} {self.blocks}"


def midpoints(format: Format) -> Tensor:
    """Returns where one value stops being the nearest: float32 `[len(values) - 1]`."""
    table = format.table.double()
    return ((table[1:] + table[:-1]) / 2).float()


def _known(name: str) -> Format:
    for candidate in KNOWN:
        if candidate.name == name:
            return candidate
    raise invalid("ValueGrid.format", name, f"one of {', '.join(f.name for f in KNOWN)}, or a table of values")
