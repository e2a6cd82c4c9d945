"""An affine grid as the arrays that go into an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from laconic.core.bits import pack
from laconic.core.codings.affine import AffineGrid
from laconic.export.onnxruntime.builder import Array


@dataclass(frozen=True, eq=False)
class Stored:
    """Codes, scales and zero points of a weight. Codes are int8: 8-bit ones without sign are moved down by 128."""

    grid: AffineGrid

    @property
    def moved_by(self) -> int:
        """What is added to the grid's codes and zero points."""
        return -128 if self.grid.bits == 8 and not self.grid.symmetric else 0

    @property
    def lowest(self) -> int:
        """The smallest code."""
        return self.grid.lowest + self.moved_by

    def codes(self) -> Array:
        """Returns the codes, int8, in the parameter's shape."""
        return (self.grid.integers().numpy() + self.moved_by).astype(np.int8)

    def halves(self, codes: Array, name: str) -> ir.PackedTensor[Array]:
        """Returns codes of 4 bits as ONNX's own type for them."""
        signed = self.grid.symmetric
        octets = self.packed(codes)[: (codes.size + 1) // 2] ^ (0x88 if signed else 0)
        dtype = ir.DataType.INT4 if signed else ir.DataType.UINT4
        return ir.PackedTensor(octets, dtype, shape=codes.shape, name=name)

    def packed(self, codes: Array) -> Array:
        """Returns codes as bytes, as many as whole groups of eight codes fill."""
        unsigned = torch.from_numpy(codes.astype(np.int16) - self.lowest).to(torch.uint8)
        octets = pack(unsigned, self.grid.bits).numpy()
        return np.pad(octets, (0, -len(octets) % self.grid.bits))

    def scale(self) -> Array:
        """Returns the scales, float32, in a shape that broadcasts, or `[channels, groups]`."""
        return self._shaped(self.grid.scale.float().numpy())

    def zero(self) -> Array | None:
        """Returns the zero points, int8, shaped like the scales, or None for a symmetric grid."""
        if self.grid.zero_point is None:
            return None
        return self._shaped((self.grid.zero_point.numpy().astype(np.int16) + self.moved_by).astype(np.int8))

    def _shaped(self, array: Array) -> Array:
        blocks = self.grid.blocks
        if blocks.group_size is not None:
            return array.reshape(blocks.channels, -1)
        if blocks.axis is None:
            return array.reshape(())
        return array.reshape([-1 if i == blocks.axis else 1 for i in range(len(blocks.shape))])
