"""Finds out which parameter an operand is, whatever view of it the model's code took."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Rows(NamedTuple):
    """Output channels `start` to `stop` of a two-dimensional parameter; `transposed` if they are its columns."""

    parameter: str
    transposed: bool
    start: int
    stop: int


class Weights:
    """A model's parameters, found by the memory that an operand looks at.

    Views (transposed, chunked, split, reshaped without a copy) share their parameter's memory, so identity of memory,
    offset and strides says exactly which part of which parameter they are. Copies are not recognised.
    """

    def __init__(self, model: nn.Module) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._held: dict[int, list[tuple[str, Tensor]]] = {}
        for name, parameter in model.named_parameters():
            if is_lazy(parameter) or not parameter.is_floating_point() or parameter.dim() < 2 or parameter.numel() == 0:
                continue
            self.shapes[name] = tuple(parameter.shape)
            self._held.setdefault(_memory(parameter), []).append((name, parameter.detach()))

    def whole(self, operand: Tensor) -> str | None:
        """Returns the name of the parameter that the operand is, in its own shape."""
        for name, parameter in self._held.get(_memory(operand), ()):
            if parameter.storage_offset() == operand.storage_offset() and _same_layout(parameter, operand):
                return name
        return None

    def rows(self, operand: Tensor) -> Rows | None:
        """Returns which output channels of which parameter an operand `[inputs, outputs]` of a product holds."""
        for name, parameter in self._held.get(_memory(operand), ()):
            if parameter.dim() != 2:
                continue
            for transposed in (False, True):
                found = _channels(operand, parameter if transposed else parameter.t())
                if found is not None:
                    return Rows(name, transposed, *found)
        return None


def _same_layout(one: Tensor, other: Tensor) -> bool:
    strides = zip(one.shape, one.stride(), other.stride(), strict=False)
    return one.shape == other.shape and all(a == b for size, a, b in strides if size > 1)


def _channels(operand: Tensor, parameter: Tensor) -> tuple[int, int] | None:
    """Which columns of a parameter seen as `[inputs, outputs]` the operand is."""
    inputs, outputs = operand.shape
    if inputs != parameter.shape[0] or (inputs > 1 and operand.stride(0) != parameter.stride(0)):
        return None
    if outputs > 1 and operand.stride(1) != parameter.stride(1):
        return None
    start, rest = divmod(int(operand.storage_offset() - parameter.storage_offset()), max(1, parameter.stride(1)))
    fits = rest == 0 and start >= 0 and start + outputs <= parameter.shape[1]
    return (start, start + outputs) if fits else None


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
