"""Shapes of recurrent layers at once: PyTorch's tracers go through every time step to find them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch._subclasses.fake_tensor import FakeTensor

Kernel = Callable[..., tuple[Tensor, ...]]


@contextmanager
def recurrent_shapes() -> Iterator[None]:
    """Lets tracers see what LSTM, GRU and plain recurrent layers return without unrolling them.

    Without it, a tracer takes time in proportion to the steps, each of the several times that it looks.
    Acts on tensors without values only; where this version of PyTorch keeps its kernels elsewhere, nothing changes.
    """
    aten = torch.ops.aten
    operators: list[Any] = [aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input]
    places = [(op, table, key) for op in operators for table, key in _places(op) if key in table]
    kernels = [table[key] for _, table, key in places]
    try:
        for (op, table, key), kernel in zip(places, kernels, strict=True):
            table[key] = _at_once(kernel)
            op._dispatch_cache.clear()
        yield
    finally:
        for (op, table, key), kernel in zip(places, kernels, strict=True):
            table[key] = kernel
            op._dispatch_cache.clear()


def _places(op: Any) -> Iterator[tuple[dict[Any, Kernel], Any]]:
    """Yields where a tracer looks for what an operator consists of."""
    yield op.py_kernels, DispatchKey.CompositeImplicitAutograd
    yield op.py_kernels, DispatchKey.Autograd
    yield decomposition_table, op


def _at_once(kernel: Kernel) -> Kernel:
    """Returns a kernel that gives the results' shapes for tensors without values, and asks the old one otherwise."""

    @functools.wraps(kernel)
    def shaped(x: Tensor, state: Tensor | Sequence[Tensor], *rest: Any) -> tuple[Tensor, ...]:
        states = [state] if isinstance(state, Tensor) else list(state)
        if not isinstance(x, FakeTensor) or x.dim() != 3:
            return kernel(x, state, *rest)
        *_, bidirectional, _ = rest
        width = states[0].shape[2] * (2 if bidirectional else 1)
        return x.new_empty((*x.shape[:2], width)), *(torch.empty_like(each) for each in states)

    return shaped
