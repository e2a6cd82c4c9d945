"""Lets a model answer in eval mode and leaves no trace of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@contextmanager
def untouched(model: nn.Module, *, gradients: bool, seed: int) -> Iterator[None]:
    """Inside, the model is in eval mode, random numbers start from a seed, and only weights ask for gradients.

    Attention and recurrent layers run as the plain products that they are made of, since fused ones hide their inputs.

    Args:
        model: any module.
        gradients: whether a backward pass will follow.
        seed: of PyTorch's global generators.

    Guarantees:
        Modes, `requires_grad`, `grad`, buffers, PyTorch's random state and its switches are afterwards what they were,
        also after an error.
    """
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(_tensors_kept(model))
        stack.enter_context(_random_state_kept(model, seed))
        stack.enter_context(_plain_products(model))
        stack.enter_context(torch.set_grad_enabled(gradients))
        if gradients:
            stack.enter_context(_weights_ask_for_gradients(model))
        yield


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _tensors_kept(model: nn.Module) -> Iterator[None]:
    """Even in eval mode some modules write into buffers or replace them, or scale embeddings to `max_norm`."""
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    held = [b for _, named in buffers for b in named.values() if b is not None]
    held += [module.weight for module in model.modules() if isinstance(module, EMBEDDINGS) and module.max_norm]
    values = [tensor.detach().clone() for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(held, values, strict=True):
                tensor.copy_(value)
        for module, named in buffers:
            module._buffers.clear()
            module._buffers.update(named)


@contextmanager
def _random_state_kept(model: nn.Module, seed: int) -> Iterator[None]:
    devices = {p.device for p in model.parameters() if p.device.type not in ("cpu", "meta")}
    kind = next((device.type for device in devices), "cuda")
    with torch.random.fork_rng(devices=sorted(d.index or 0 for d in devices), device_type=kind):
        torch.manual_seed(seed)
        yield


@contextmanager
def _plain_products(model: nn.Module) -> Iterator[None]:
    attention = torch.backends.mha.get_fastpath_enabled()
    fused: Sequence[Any] = (torch.backends.mkldnn, torch.backends.cudnn)
    enabled = [backend.enabled for backend in fused]
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for backend in fused if recurrent else ():
            backend.enabled = False
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(attention)
        for backend, before in zip(fused, enabled, strict=True):
            if backend.enabled != before:
                backend.enabled = before


@contextmanager
def _weights_ask_for_gradients(model: nn.Module) -> Iterator[None]:
    """The backward pass starts at weights' outputs: the weights' own gradients are never computed."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(parameter.dim() > 1 and parameter.is_floating_point())
        yield
    finally:
        for parameter, asked in before:
            parameter.requires_grad_(asked)
