"""Histograms of what goes into and comes out of every module."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from laconic.calibrate.channel_histograms import ChannelHistograms
from laconic.calibrate.histogram import Histogram, as_stored
from laconic.core.errors import ModelError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def input_channels(module: nn.Module) -> int | None:
    """Returns which dimension of a linear layer's or convolution's input counts channels, from the end; else None."""
    if isinstance(module, CONVOLUTIONS):
        return -1 - len(module.kernel_size)
    return -1 if isinstance(module, nn.Linear) else None


@contextmanager
def watch_activations(
    model: nn.Module, into: dict[str, Histogram], channels: dict[str, ChannelHistograms] | None = None
) -> Iterator[None]:
    """Inside, adds up every module's first positional input and its output, where they are floating-point tensors.

    The hooks are PyTorch's global ones, so that the model's own are not touched. Keys: `"path:input"`, `"path:output"`.

    Args:
        model: whose modules are watched.
        into: of whole tensors.
        channels: of each channel of what linear layers and convolutions read; None: not counted.

    Raises:
        ModelError: from the forward pass, if a module's input or output holds NaN or +infinity.
    """
    paths = {module: path for path, module in model.named_modules()}
    counted = _Counted()

    def note(module: nn.Module, side: str, value: Any) -> None:
        if module in paths and isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            key = f"{paths[module]}:{side}"
            found = counted.of(value, key)
            if found is not None:
                into[key] = into[key] + found if key in into else found
                dim = input_channels(module) if side == "input" and channels is not None else None
                if channels is not None and dim is not None:
                    apart = ChannelHistograms.of(value, dim)
                    channels[key] = channels[key] + apart if key in channels else apart

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


class _Counted:
    """Histograms of tensors; what one module answers and others read is counted once."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[Tensor], int, Histogram | None]] = {}

    def of(self, value: Tensor, key: str) -> Histogram | None:
        """Returns the histogram of a tensor, None if it holds nothing that can be counted."""
        if value.is_inference():  # Nobody notes what is written into such a tensor.
            return _histogram(value, key)
        held = self._held.get(id(value))
        if held is not None and held[0]() is value and held[1] == value._version:
            return held[2]
        found = _histogram(value.detach(), key)
        self._held[id(value)] = weakref.ref(value), value._version, found
        return found


def _histogram(values: Tensor, key: str) -> Histogram | None:
    """Counts what is above -infinity, which marks the impossible (a masked class, a masked position)."""
    values = as_stored(values)
    low, high = (float(v) for v in torch.aminmax(values))
    if low != low or high == torch.inf:
        path, _, side = key.partition(":")
        where = f"module {path!r}" if path else "the model"
        raise ModelError(
            f"calibrate: the {side} of {where} holds NaN or infinity; expected finite numbers. Check the data, and the "
            "number format (float16 overflows above 65504)."
        )
    if low > -torch.inf:
        return Histogram.of(values, (low, high))
    values = values[values > -torch.inf]
    return Histogram.of(values) if values.numel() else None
