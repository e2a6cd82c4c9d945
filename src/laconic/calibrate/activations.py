"""Histograms of what goes into and comes out of every module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from laconic.calibrate.histogram import Histogram
from laconic.core.errors import ModelError


@contextmanager
def watch_activations(model: nn.Module, into: dict[str, Histogram]) -> Iterator[None]:
    """Inside, adds up every module's first positional input and its output, where they are floating-point tensors.

    The hooks are PyTorch's global ones, so that the model's own are not touched. Keys: `"path:input"`, `"path:output"`.

    Raises:
        ModelError: from the forward pass, if a module's input or output holds NaN or +infinity.
    """
    paths = {module: path for path, module in model.named_modules()}

    def note(module: nn.Module, side: str, value: Any) -> None:
        if module in paths and isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            key = f"{paths[module]}:{side}"
            found = _histogram(value.detach(), key)
            if found is not None:
                into[key] = into[key] + found if key in into else found

    def note_input(module: nn.Module, args: Any) -> None:
        note(module, "input", args[0] if args else None)

    def note_output(module: nn.Module, args: Any, output: Any) -> None:
        note(module, "output", output)

    handles = hooks.register_module_forward_pre_hook(note_input), hooks.register_module_forward_hook(note_output)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _histogram(values: Tensor, key: str) -> Histogram | None:
    """Counts what is above -infinity, which marks the impossible (a masked class, a masked position)."""
    low, high = (float(v) for v in torch.aminmax(values))
    if low != low or high == torch.inf:
        path, _, side = key.partition(":")
        where = f"module {path!r}" if path else "the model"
        raise ModelError(
            f"calibrate: the {side} of {where} holds NaN or infinity; expected finite numbers. Check the data, and the "
            "number format (float16 overflows above 65504)."
        )
    if low == -torch.inf:
        values = values[values > -torch.inf]
    return Histogram.of(values) if values.numel() else None
