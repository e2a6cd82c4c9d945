"""What a weight takes in an ONNX file, operators that decode it included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import onnx_ir as ir

from laconic.core.coding import Coding
from laconic.core.edit import Recode
from laconic.core.packing import unzipped
from laconic.export.onnxruntime.capture import OPSET
from laconic.export.onnxruntime.exporting import as_packed, serialised
from laconic.export.onnxruntime.functions import DOMAIN
from laconic.export.onnxruntime.marks import mark
from laconic.export.onnxruntime.weights import write_weights

FIELD = 3
"""Bytes in front of each entry of a file."""


@final
@dataclass(frozen=True, kw_only=True)
class InFile:
    """Bytes in a file.

    Args:
        own: of one weight, beyond what the file would hold of it as numbers of 32 bits but for those numbers.
        shared: of each function that decodes it, which a file holds once for all.
    """

    own: int
    shared: Mapping[str, int]

    @property
    def total(self) -> int:
        """Of all together."""
        return self.own + sum(self.shared.values())


def in_file(parameter: str, coding: Coding) -> InFile:
    """Returns what a weight takes in a file.

    Args:
        parameter: its name, which is part of the file.
        coding: of the weight; what a file cannot hold as codes takes four bytes a number.

    Example:
        >>> import torch
        >>> from laconic.core.codings import Half
        >>> 24 < in_file("w", Half.of(torch.zeros(3, 4) + 1)).own < 120
        True
    """
    packed = as_packed(unzipped(Recode(parameter, coding)).coding)
    floats = 4 * int(np.prod(coding.shape))
    if packed is None or len(coding.shape) < 2:
        return InFile(own=floats, shared={})
    model = _holding(parameter, coding.shape)
    before = len(serialised(model))
    mark(model, {parameter: parameter})
    write_weights(model, {parameter: packed}, [])
    shared = {
        function.name: len(ir.to_proto(function).SerializeToString()) + FIELD for function in model.functions.values()
    }
    model.functions.clear()
    return InFile(own=len(serialised(model)) - before + floats, shared=shared)


def together(recodes: Iterable[Recode]) -> InFile:
    """Returns what all weights of a plan take in a file together."""
    own, shared = 0, dict[str, int]()
    for edit in recodes:
        found = in_file(edit.parameter, edit.coding)
        own += found.own
        shared |= found.shared
    return InFile(own=own, shared=shared)


def _holding(parameter: str, shape: tuple[int, ...]) -> ir.Model:
    """Returns a graph that holds a weight of zeros and hands it on."""
    zeros = ir.tensor(np.zeros(shape, np.float32), name=parameter)
    weight = ir.Value(name=parameter, const_value=zeros, shape=ir.Shape(shape), type=ir.TensorType(zeros.dtype))
    reader = ir.node("Identity", [weight])
    value = reader.outputs[0]
    value.name, value.type = "y", ir.TensorType(ir.DataType.FLOAT)
    opsets = {"": OPSET, DOMAIN: 1}
    graph = ir.Graph([], [value], nodes=[reader], initializers=[weight], opset_imports=opsets, name="weight")
    return ir.Model(graph, ir_version=10)
