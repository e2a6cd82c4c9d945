"""Adds constants and operators to a graph in front of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from laconic.export.onnxruntime.functions import DOMAIN

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Builder:
    """Writes into a graph.

    Args:
        model: changed in place.
        before: new operators go in front of this node.
    """

    model: ir.Model
    before: ir.Node

    def constant(self, name: str, array: Array) -> ir.Value:
        """Returns an initializer; one of the same name is taken to be the same."""
        return self.tensor(name, ir.tensor(array, name=name), array.shape)

    def tensor(self, name: str, tensor: ir.TensorProtocol, shape: Sequence[int]) -> ir.Value:
        """Returns an initializer that holds a tensor; one of the same name is taken to be the same."""
        graph = self.model.graph
        if name not in graph.initializers:
            dtype = ir.TensorType(tensor.dtype)
            graph.register_initializer(ir.Value(name=name, const_value=tensor, shape=ir.Shape(shape), type=dtype))
        return graph.initializers[name]

    def node(self, op_type: str, inputs: Sequence[ir.Value], **attributes: Any) -> ir.Value:
        """Returns the output of a new standard operator."""
        node = ir.node(op_type, inputs, attributes)
        self.model.graph.insert_before(self.before, node)
        return node.outputs[0]

    def knows(self, function: ir.Function) -> bool:
        """Whether one of our functions is part of the model already."""
        return function.identifier() in self.model.functions

    def call(self, function: ir.Function, inputs: Sequence[ir.Value]) -> ir.Value:
        """Returns the output of one of our functions, which becomes part of the model."""
        self.model.functions.setdefault(function.identifier(), function)
        node = ir.node(function.name, inputs, domain=DOMAIN)
        self.model.graph.insert_before(self.before, node)
        return node.outputs[0]


def sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """Returns the size of each dimension, or None where one is not known."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return value.shape.numpy()


def known(value: ir.Value | None) -> Array | None:
    """Returns what an initializer holds, or None for a value that is computed."""
    if value is None or value.const_value is None or value.producer() is not None:
        return None
    return np.asarray(value.const_value.numpy())
