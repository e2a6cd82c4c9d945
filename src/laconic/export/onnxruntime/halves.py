"""Weights in half precision: two bytes each in the file, float32 where they are used."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from laconic.core.codings import Half
from laconic.export.onnxruntime.builder import Builder
from laconic.export.onnxruntime.scattered import Scattered


@dataclass(frozen=True, eq=False)
class HalfWriter:
    """Writes one weight.

    Args:
        name: the parameter's.
        coding: its values.
        build: into the graph, where the weight's mark stands.
    """

    name: str
    coding: Half
    build: Builder

    def at(self, node: ir.Node) -> HalfWriter:
        """Returns the same, writing in front of another node."""
        return HalfWriter(self.name, self.coding, Builder(self.build.model, node))

    def has_rows_for(self, reader: ir.Node) -> bool:
        """Whether a node takes rows out of the weight that can be decoded by themselves."""
        axis = reader.attributes.get("axis")
        return reader.op_type == "Gather" and (axis is None or axis.as_int() == 0)

    def taken(self, rows: ir.Value) -> ir.Value:
        """Returns some rows of the weight."""
        return self._float(self.build.node("Gather", [self._values(), rows]))

    def decode(self) -> ir.Value:
        """Returns the whole weight in float32."""
        return self._float(self._values())

    def _values(self) -> ir.Value:
        label, values = f"{self.name}.half", self.coding.values.numpy()
        found = Scattered.of(values, 16, self.build)
        if found is None:
            return self.build.constant(label, values)
        return found.write(self.build, label, self.build.constant(label, found.rest))

    def _float(self, value: ir.Value) -> ir.Value:
        return self.build.node("Cast", [value], to=ir.DataType.FLOAT)
