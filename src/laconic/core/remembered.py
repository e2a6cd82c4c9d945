"""What modules remember of earlier calls: tables that were made of parameters once, whatever becomes of these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def forget(model: nn.Module) -> None:
    """Empties the caches of a model's modules: attributes with `cache` in their name that are dicts of tensors.

    Example:
        >>> import torch
        >>> layer = nn.ReLU()
        >>> layer.bias_cache = {"cpu": torch.zeros(2)}
        >>> forget(layer)
        >>> layer.bias_cache
        {}
    """
    for module, name in list(_caches(model)):
        setattr(module, name, {})


@contextmanager
def forgetting(model: nn.Module) -> Iterator[None]:
    """Runs with empty caches, and puts back what was in them: nothing of what runs is remembered."""
    held = [(module, name, getattr(module, name)) for module, name in _caches(model)]
    forget(model)
    try:
        yield
    finally:
        for module, name, cache in held:
            setattr(module, name, cache)


def _caches(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in model.modules():
        for name, value in vars(module).items():
            if "cache" in name and type(value) is dict and all(isinstance(held, Tensor) for held in value.values()):
                yield module, name
