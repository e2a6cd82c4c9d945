"""Weights that are a thin product and a rest: both factors and the rest's codes, added up at load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import onnx_ir as ir

from laconic.core.codings import LowRankSum
from laconic.core.layout import Layout
from laconic.export.onnxruntime.builder import Array, Builder


class Writer(Protocol):
    """Writes one weight."""

    def at(self, node: ir.Node) -> Self:
        """Returns the same, writing in front of another node."""

    def has_rows_for(self, reader: ir.Node) -> bool:
        """Whether a node takes rows out of the weight that can be decoded by themselves."""

    def taken(self, rows: ir.Value) -> ir.Value:
        """Returns some rows of the weight."""

    def decode(self) -> ir.Value:
        """Returns the whole weight in float32."""


@dataclass(frozen=True, eq=False)
class SumWriter:
    """Writes one weight.

    Args:
        name: the parameter's.
        coding: its factors.
        rest: writes what is added to their product.
        build: into the graph, where the weight's mark stands.
    """

    name: str
    coding: LowRankSum
    rest: Writer
    build: Builder

    def at(self, node: ir.Node) -> SumWriter:
        """Returns the same, writing in front of another node."""
        return SumWriter(self.name, self.coding, self.rest.at(node), Builder(self.build.model, node))

    def has_rows_for(self, reader: ir.Node) -> bool:
        """Whether a node takes rows out of the weight that can be decoded by themselves."""
        plain = len(self.coding.shape) == 2 and self.coding.layout == Layout.rows(self.coding.shape)
        return plain and self.rest.has_rows_for(reader)

    def taken(self, rows: ir.Value) -> ir.Value:
        """Returns some rows of the weight."""
        left, right = (factor.numpy()[0] for factor in (self.coding.left, self.coding.right))
        some = self.build.node("Gather", [self._kept("left", left), rows])
        return self._sum(self.rest.taken(rows), self._float(some, left), self._float(self._kept("right", right), right))

    def decode(self) -> ir.Value:
        """Returns the whole weight in float32."""
        layout, factors = self.coding.layout, {"left": self.coding.left, "right": self.coding.right}
        left, right = (self._float(self._kept(side, f.numpy()), f.numpy()) for side, f in factors.items())
        product = self.build.node("MatMul", [left, right])
        split = self._shape("split", [layout.split[dim] for dim in layout.order])
        order = [int(dim) for dim in np.argsort(layout.order)]
        arranged = self.build.node("Transpose", [self.build.node("Reshape", [product, split])], perm=order)
        whole = self.build.node("Reshape", [arranged, self._shape("whole", list(layout.shape))])
        return self.build.node("Add", [whole, self.rest.decode()])

    def _sum(self, rest: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
        return self.build.node("Add", [self.build.node("MatMul", [left, right]), rest])

    def _kept(self, side: str, factor: Array) -> ir.Value:
        return self.build.constant(f"{self.name}.{side}", np.ascontiguousarray(factor))

    def _float(self, value: ir.Value, held: Array) -> ir.Value:
        return value if held.dtype == np.float32 else self.build.node("Cast", [value], to=ir.DataType.FLOAT)

    def _shape(self, label: str, sizes: list[int]) -> ir.Value:
        return self.build.constant(f"{self.name}.{label}", np.array(sizes, np.int64))
