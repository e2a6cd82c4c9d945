"""A model without its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


def structure(build: Callable[[], nn.Module]) -> nn.Module:
    """Returns what a function builds with its parameters on the meta device; buffers stay in memory, ties stay tied.

    Each parameter lies in memory only until it is registered, so a model larger than memory can be built by the code
    that builds it otherwise.

    Args:
        build: takes nothing, returns the model.

    Example:
        >>> found = structure(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
        >>> found[0].weight.is_meta, found[1].running_mean.is_meta
        (True, False)
    """
    with _parameters_on_meta():
        return build()


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        # One that is there already is tied to another: it has to stay the same object.
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    nn.Module.register_parameter = registered  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
