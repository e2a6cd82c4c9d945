"""Recoded weights in the file: integer codes, packed, and the few operators that give them their value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from laconic.core.coding import Coding
from laconic.core.codings import AffineGrid, Codebook, Half, LowRankSum, ValueGrid
from laconic.export.onnxruntime import functions
from laconic.export.onnxruntime.builder import Array, Builder, known
from laconic.export.onnxruntime.halves import HalfWriter
from laconic.export.onnxruntime.marks import marks, parameter_of
from laconic.export.onnxruntime.places import Place
from laconic.export.onnxruntime.scattered import Scattered
from laconic.export.onnxruntime.stored import Stored
from laconic.export.onnxruntime.sums import SumWriter, Writer
from laconic.export.onnxruntime.tables import Table, TableWriter, arranged, spread

# ONNX Runtime keeps biases as int32 in units of input step * weight scale; this leaves a factor of two.
_LARGEST_BIAS = 2.0**30


Packed = AffineGrid | Table | Half | LowRankSum  # what goes into a file as it is stored


def write_weights(model: ir.Model, codings: Mapping[str, Packed], integer: Collection[Place]) -> None:
    """Replaces every mark by integer codes and what decodes them.

    Args:
        model: changed in place.
        codings: parameter -> its coding.
        integer: where the weight reaches the operator through DequantizeLinear, which ONNX Runtime makes an integer
            kernel of. Everywhere else it is decoded by plain arithmetic, which ONNX Runtime does once, at load.

    Guarantees:
        Decoded weights are those of the coding's `decode`, bit for bit; those of thin products up to rounding, since a
        matrix product's last bits are the runtime's. Only output channels that an integer bias could not stand beside,
        their weights being next to nothing against it, are zero where an integer kernel reads them.
    """
    for node in marks(model):
        parameter, weight = parameter_of(node), node.outputs[0]
        writer = _writer(parameter, codings[parameter], Builder(model, node))
        for place in integer:
            if place.parameter == parameter:
                assert isinstance(writer, _Writer), "integer kernels take affine grids alone"
                writer.dequantize(place)
        for reader, index in list(weight.uses()):
            if index == 0 and writer.has_rows_for(reader):
                rows = reader.inputs[1]
                assert rows is not None
                reader.outputs[0].replace_all_uses_with(writer.at(reader).taken(rows), replace_graph_outputs=True)
        if weight.uses():
            whole = writer.decode()
            whole.shape, whole.type = weight.shape, weight.type
            weight.replace_all_uses_with(whole)
    passes.RemoveUnusedNodesPass()(model)


def _writer(name: str, coding: Coding, build: Builder) -> Writer:
    match coding:
        case AffineGrid():
            return _Writer(name, Stored(coding), build)
        case LowRankSum():
            return SumWriter(name, coding, _writer(f"{name}.rest", coding.rest, build), build)
        case Half():
            return HalfWriter(name, coding, build)
    assert isinstance(coding, ValueGrid | Codebook)
    return TableWriter(name, coding, build)


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes one weight.

    Args:
        name: the parameter's.
        stored: its codes and scales.
        build: into the graph, where the weight's mark stands.
    """

    name: str
    stored: Stored
    build: Builder

    def dequantize(self, place: Place) -> None:
        """Gives the weight to an operator through DequantizeLinear, a factor on it taken into the scale."""
        scale = _seen(self.stored.scale(), place) * (np.float32(1) if place.factor is None else place.factor)
        muted = _muted(place, scale)
        if muted.any():
            scale = np.where(muted, np.abs(scale).max(), scale)
            codes = self._codes(place.name, self._silenced(place, muted))
        else:
            codes = self._codes(self.name, self.stored.codes())
        if place.order != tuple(range(len(place.order))):
            codes = self.build.node("Transpose", [codes], perm=place.order)
        scale = scale.reshape(-1) if scale.size > 1 else scale.reshape(())
        parts = [codes, self.build.constant(f"{place.name}.scale", scale)]
        zero = self.stored.zero()
        if zero is not None or place.node.op_type != "Conv":  # other kernels are not chosen without a zero point
            level = np.int8(0) if zero is None else zero.flat[0]
            parts.append(self.build.constant(f"{place.name}.zero", np.full(scale.shape, level)))
        place.node.replace_input_with(1, self.build.node("DequantizeLinear", parts, axis=place.output))
        if place.node.op_type == "Gemm":
            self._round_bias(place, scale)

    def at(self, node: ir.Node) -> _Writer:
        """Returns the same, writing in front of another node."""
        return _Writer(self.name, self.stored, Builder(self.build.model, node))

    def has_rows_for(self, reader: ir.Node) -> bool:
        """Whether a node takes rows out of the weight that can be decoded by themselves."""
        axis, blocks = reader.attributes.get("axis"), self.stored.grid.blocks
        by_rows = reader.op_type == "Gather" and (axis is None or axis.as_int() == 0)
        return by_rows and blocks.axis in (None, 0) and (blocks.group_size is None or len(blocks.shape) == 2)

    def taken(self, rows: ir.Value) -> ir.Value:
        """Returns some rows of the weight."""
        values = [self._codes(self.name, self.stored.codes()), *self._parameters()]
        if self.stored.grid.blocks.axis is None:
            taken = [self.build.node("Gather", [values[0], rows]), *values[1:]]
        else:
            taken = [self.build.node("Gather", [value, rows]) for value in values]
        return self._affine([taken[0], *map(self._spread, taken[1:])])

    def decode(self) -> ir.Value:
        """Returns the whole weight in float32."""
        parameters = [self._arranged(self._spread(value)) for value in self._parameters()]
        return self._affine([self._codes(self.name, self.stored.codes()), *parameters])

    def _codes(self, name: str, codes: Array) -> ir.Value:
        """Returns int8 codes in the parameter's shape; where most are alike, only the others are stored."""
        label = f"{name}.codes"
        found = Scattered.of(codes, self.stored.grid.bits, self.build)
        if found is None:
            return self._unpacked(label, codes)
        return found.write(self.build, label, self._unpacked(label, found.rest))

    def _unpacked(self, label: str, codes: Array) -> ir.Value:
        """Returns int8 codes in their shape: as they are, from half a byte each, or unpacked by us."""
        bits = self.stored.grid.bits
        if bits == 8:
            return self.build.constant(label, codes)
        if bits == 4:
            halves = self.build.tensor(label, self.stored.halves(codes, label), codes.shape)
            return self.build.node("Cast", [halves], to=ir.DataType.INT8)
        packed = self.build.constant(label, self.stored.packed(codes))
        unpacked = self.build.call(functions.unpack(bits, self.stored.lowest), [packed])
        if codes.size % 8:
            flat, count = (self.build.constant(f"size.{n}", np.array([n], np.int64)) for n in (-1, codes.size))
            zero = self.build.constant("size.0", np.array([0], np.int64))
            unpacked = self.build.node("Slice", [self.build.node("Reshape", [unpacked, flat]), zero, count])
        sizes = (-1,) if codes.ndim == 1 else codes.shape
        label = f"size.{'x'.join(map(str, sizes))}"
        return self.build.node("Reshape", [unpacked, self.build.constant(label, np.array(sizes, np.int64))])

    def _round_bias(self, place: Place, scale: Array) -> None:
        """Rounds a bias to int32 as ONNX Runtime does it everywhere but in front of an output in float."""
        bias = known(place.node.inputs[2]) if len(place.node.inputs) > 2 else None
        if bias is None or place.step is None:
            return
        step = np.broadcast_to(np.float32(place.step) * scale, bias.shape)
        codes = self.build.constant(f"{place.name}.bias", np.rint(bias / step).astype(np.int32))
        steps = self.build.constant(f"{place.name}.bias_scale", step.copy())
        place.node.replace_input_with(2, self.build.node("DequantizeLinear", [codes, steps], axis=0))

    def _silenced(self, place: Place, muted: Array) -> Array:
        """Returns the codes with some output channels at zero."""
        zero = self.stored.zero()
        seen = np.where(muted, 0 if zero is None else zero.flat[0], _seen(self.stored.codes(), place))
        return np.ascontiguousarray(np.transpose(seen, np.argsort(place.order))).astype(np.int8)

    def _parameters(self) -> list[ir.Value]:
        scale, zero = self.stored.scale(), self.stored.zero()
        zeros = [] if zero is None else [self.build.constant(f"{self.name}.zero", zero)]
        return [self.build.constant(f"{self.name}.scale", scale), *zeros]

    def _affine(self, parts: list[ir.Value]) -> ir.Value:
        return self.build.call(functions.affine() if len(parts) == 3 else functions.scaled(), parts)

    def _spread(self, value: ir.Value) -> ir.Value:
        return spread(self.build, self.name, value, self.stored.grid.blocks)

    def _arranged(self, value: ir.Value) -> ir.Value:
        """Returns `[channels, elements]` in the parameter's shape."""
        blocks = self.stored.grid.blocks
        if blocks.group_size is None or blocks.axis is None:
            return value
        return arranged(self.build, self.name, value, blocks)


def _seen(array: Array, place: Place) -> Array:
    """Returns an array of the parameter's rank with its dimensions as the operator sees them."""
    return np.transpose(array, place.order) if array.ndim else array.reshape([1] * len(place.order))


def _muted(place: Place, scale: Array) -> Array:
    """Says which output channels weigh so little beside their bias that an integer bias could not hold it."""
    bias = known(place.node.inputs[2]) if len(place.node.inputs) > 2 else None
    if bias is None or place.step is None:
        return np.zeros(1, bool)
    along = [-1 if i == place.output else 1 for i in range(scale.ndim)]
    muted: Array = np.abs(bias.reshape(along)) > _LARGEST_BIAS * place.step * np.abs(scale)
    return muted
