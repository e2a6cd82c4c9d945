"""Weights whose values come from tables: packed places in the table, and the Gather that looks them up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from laconic.core.bits import pack
from laconic.core.blocks import Blocks
from laconic.core.codings import Codebook, ValueGrid
from laconic.core.codings.value_grid import EXPONENT_BIAS
from laconic.export.onnxruntime import functions
from laconic.export.onnxruntime.builder import Array, Builder
from laconic.export.onnxruntime.scattered import Scattered

Table = ValueGrid | Codebook


@dataclass(frozen=True, eq=False)
class TableWriter:
    """Writes one weight.

    Args:
        name: the parameter's.
        coding: its codes, tables and scales.
        build: into the graph, where the weight's mark stands.
    """

    name: str
    coding: Table
    build: Builder

    def at(self, node: ir.Node) -> TableWriter:
        """Returns the same, writing in front of another node."""
        return TableWriter(self.name, self.coding, Builder(self.build.model, node))

    def has_rows_for(self, reader: ir.Node) -> bool:
        """Whether a node takes rows out of the weight that can be decoded by themselves."""
        axis, blocks = reader.attributes.get("axis"), _blocks(self.coding)
        by_rows = reader.op_type == "Gather" and (axis is None or axis.as_int() == 0)
        return by_rows and len(blocks.shape) == 2 and blocks.axis in (None, 0)

    def taken(self, rows: ir.Value) -> ir.Value:
        """Returns some rows of the weight."""
        return self._values(rows)

    def decode(self) -> ir.Value:
        """Returns the whole weight in float32."""
        return self._values(None)

    def _values(self, rows: ir.Value | None) -> ir.Value:
        """Returns the weight, or some of its rows."""
        if isinstance(self.coding, ValueGrid):
            return self._scaled(self.coding, rows)
        return self._words(self.coding, rows)

    def _scaled(self, coding: ValueGrid, rows: ir.Value | None) -> ir.Value:
        codes = self._taken(self._codes("codes", coding.integers().numpy(), coding.format.bits), rows)
        table = self.build.constant(f"{coding.format}.{len(coding.format.values)}", coding.format.table.numpy())
        if coding.tensors().keys() != {"codes", "scale"}:  # values of one's own may share a name
            table = self.build.constant(f"{self.name}.values", coding.format.table.numpy())
        values = self.build.call(functions.taken(), [codes, table])
        blocks = coding.blocks
        if blocks.axis is None:
            shape: tuple[int, ...] = ()
        elif blocks.group_size is None:
            shape = tuple(-1 if i == blocks.axis else 1 for i in range(len(blocks.shape)))
        else:
            shape = (blocks.channels, -1)
        scale = self._scale(coding.scale.numpy().reshape(shape))
        if blocks.axis is not None:
            scale = self._taken(scale, rows)
        scale = spread(self.build, self.name, scale, blocks)
        return self.build.node("Mul", [values, scale if rows is not None else self._arranged(scale, blocks)])

    def _words(self, coding: Codebook, rows: ir.Value | None) -> ir.Value:
        channels, stages = coding.vectors.channels, coding.integers().view(coding.stages, coding.vectors.channels, -1)
        total: ir.Value | None = None
        for stage, codes in enumerate(stages.numpy()):
            label = f"codes.{stage}" if coding.stages > 1 else "codes"
            places = self.build.node("Cast", [self._codes(label, codes, coding.bits)], to=ir.DataType.INT32)
            if coding.books.shape[1] > 1:
                first = (np.arange(channels, dtype=np.int32) // coding.rows * coding.words)[:, None]
                places = self.build.node("Add", [places, self.build.constant(f"{self.name}.tables", first)])
            book = self._floats(f"books.{stage}", coding.books[stage].flatten(0, 1).numpy())
            words = self.build.node("Gather", [book, self._taken(places, rows)])
            total = words if total is None else self.build.node("Add", [total, words])
        assert total is not None
        if coding.scale is not None:
            scale = self._floats("scale", coding.scale.numpy().reshape(-1, 1, 1))
            total = self.build.node("Mul", [total, self._taken(scale, rows)])
        return self._joined(total, coding.vectors, rows)

    def _joined(self, words: ir.Value, vectors: Blocks, rows: ir.Value | None) -> ir.Value:
        """Returns `[..., vectors, length]` as `[..., elements]` without padding, or in the parameter's shape."""
        rest = self._numbers(-1)
        if rows is None:
            shape = self._numbers(vectors.channels, -1)
        else:
            shape = self.build.node("Concat", [self.build.node("Shape", [rows]), rest], axis=0)
        flat = self.build.node("Reshape", [words, shape])
        if vectors.per_channel % vectors.length:
            flat = self.build.node("Slice", [flat, self._numbers(0), self._numbers(vectors.per_channel), rest])
        return flat if rows is not None else self._arranged(flat, vectors)

    def _codes(self, label: str, codes: Array, bits: int) -> ir.Value:
        """Returns codes in their shape; where most are alike, only the others are stored."""
        name = f"{self.name}.{label}"
        found = Scattered.of(codes, bits, self.build)
        if found is None:
            return self._unpacked(name, codes, bits)
        return found.write(self.build, name, self._unpacked(name, found.rest, bits))

    def _unpacked(self, name: str, codes: Array, bits: int) -> ir.Value:
        """Returns codes in their shape: as they are, from half a byte each, or unpacked by us."""
        if bits == 8:
            return self.build.constant(name, codes)
        packed = pack(torch.from_numpy(codes), bits).numpy()
        if bits == 4:
            halves = ir.PackedTensor(packed, ir.DataType.UINT4, shape=codes.shape, name=name)
            return self.build.node("Cast", [self.build.tensor(name, halves, codes.shape)], to=ir.DataType.UINT8)
        octets = self.build.constant(name, np.pad(packed, (0, -len(packed) % bits)))
        unpacked = self.build.call(functions.unpack(bits, 0), [octets])
        if codes.size % 8:
            flat = self.build.node("Reshape", [unpacked, self._numbers(-1)])
            unpacked = self.build.node("Slice", [flat, self._numbers(0), self._numbers(codes.size)])
        return self.build.node("Reshape", [unpacked, self._numbers(*codes.shape)])

    def _scale(self, scale: Array) -> ir.Value:
        """Returns scales in float32; exponents are looked up among the powers of two from the smallest on."""
        if scale.dtype != np.uint8:
            return self._floats("scale", scale)
        lowest, highest = int(scale.min(initial=255)), int(scale.max(initial=0))
        powers = np.exp2(np.arange(lowest, highest + 1, dtype=np.float64) - EXPONENT_BIAS).astype(np.float32)
        places = self.build.constant(f"{self.name}.scale", scale - np.uint8(lowest))
        return self.build.call(functions.taken(), [places, self.build.constant(f"{self.name}.powers", powers)])

    def _floats(self, label: str, array: Array) -> ir.Value:
        value = self.build.constant(f"{self.name}.{label}", np.ascontiguousarray(array))
        return value if array.dtype == np.float32 else self.build.node("Cast", [value], to=ir.DataType.FLOAT)

    def _taken(self, value: ir.Value, rows: ir.Value | None) -> ir.Value:
        return value if rows is None else self.build.node("Gather", [value, rows])

    def _numbers(self, *numbers: int) -> ir.Value:
        return self.build.constant(f"size.{'x'.join(map(str, numbers))}", np.array(numbers, np.int64))

    def _arranged(self, value: ir.Value, blocks: Blocks) -> ir.Value:
        """Returns `[channels, elements]` in the parameter's shape; what broadcasts stays."""
        if isinstance(self.coding, ValueGrid) and blocks.group_size is None:
            return value
        return arranged(self.build, self.name, value, blocks)


def spread(build: Builder, name: str, value: ir.Value, blocks: Blocks) -> ir.Value:
    """Returns the values of groups, the last dimension, as values of elements."""
    if blocks.group_size is None:
        return value
    length = build.constant(f"{name}.group", np.array(blocks.length))
    count = build.constant(f"{name}.per_channel", np.array(blocks.per_channel))
    return build.call(functions.spread(), [value, length, count])


def arranged(build: Builder, name: str, value: ir.Value, blocks: Blocks) -> ir.Value:
    """Returns `[channels, elements]` in the parameter's shape."""
    assert blocks.axis is not None
    order = [blocks.axis, *(i for i in range(len(blocks.shape)) if i != blocks.axis)]
    shape = build.constant(f"{name}.moved", np.array([blocks.shape[i] for i in order], np.int64))
    value = build.node("Reshape", [value, shape])
    return build.node("Transpose", [value], perm=[int(i) for i in np.argsort(order)])


def _blocks(coding: Table) -> Blocks:
    return coding.blocks if isinstance(coding, ValueGrid) else coding.vectors
