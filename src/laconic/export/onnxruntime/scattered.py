"""Codes of which most are the same one: only the others are stored, and how many of that one lie before each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx_ir as ir
import torch

from laconic.core.bits import pack, unpack
from laconic.core.positions import GAP_BITS, Gaps
from laconic.export.onnxruntime import functions
from laconic.export.onnxruntime.builder import Array, Builder

AROUND, ONCE = 260, 1660
"""Bytes that putting codes in their places takes in a file: for each weight, about, and once for all."""
OFTEN = 0.3
"""Share of all codes below which leaving one out is never smaller."""
WIDTHS = tuple(bits for bits in GAP_BITS if bits < 8)


@dataclass(frozen=True, eq=False)
class Scattered:
    """An array of codes without the commonest of them.

    Args:
        shape: of the whole array.
        common: the code that is not stored.
        rest: the others, in row-major order, and a few more: whole groups of eight.
        gaps: where they lie.
    """

    shape: tuple[int, ...]
    common: Array
    rest: Array
    gaps: Gaps

    @classmethod
    def of(cls, codes: Array, bits: int, build: Builder) -> Self | None:
        """Leaves the commonest code out; None where that is not smaller.

        Args:
            codes: integers, or float16.
            bits: that each takes when all are stored.
            build: into the graph, which may know how to put codes in their places.
        """
        around = AROUND + (0 if build.knows(functions.scattered()) else ONCE)
        values, counts = np.unique(codes, return_counts=True)
        if counts.max(initial=0) < OFTEN * codes.size:
            return None
        common = values[counts.argmax()]
        others = codes != common
        left = int(others.sum())
        if not left or (codes.size - left) * bits / 8 <= around:
            return None
        taken = torch.from_numpy(others.reshape(-1))
        gaps = min((Gaps.of(taken, bits=width) for width in WIDTHS), key=lambda found: found.size_bytes)
        stored = gaps.size_bytes + left * bits / 8 + around
        rest = np.pad(codes[others], (0, -left % 8), mode="edge")
        return cls(codes.shape, common, rest, gaps) if stored < codes.size * bits / 8 else None

    def write(self, build: Builder, name: str, rest: ir.Value) -> ir.Value:
        """Returns the whole array.

        Args:
            build: into the graph.
            name: of the array.
            rest: what stands for `rest` in the graph, flat.
        """
        bits = self.gaps.bits
        codes = unpack(self.gaps.gaps, bits, self.gaps.codes).numpy()
        # The largest code puts nothing anywhere, so groups of eight are filled up with it.
        filled = np.pad(codes, (0, -len(codes) % 8), constant_values=2**bits - 1)
        octets = build.constant(f"{name}.gaps", pack(torch.from_numpy(filled), bits).numpy())
        gaps = build.call(functions.unpack(bits, 0), [octets])
        last = build.constant(f"gap.{bits}", np.array(2**bits - 1, np.int32))
        common = build.constant(f"{name}.common", self.common.reshape(1))
        shape = build.constant(f"{name}.shape", np.array(self.shape, np.int64))
        return build.call(functions.scattered(), [gaps, last, rest, common, shape])
