"""The vectors that a layer's matrix multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from laconic.calibrate.patches import patches, stuffed

MULTIPLYING = (nn.Linear, _ConvNd)


def vectors(module: nn.Linear | _ConvNd, inputs: Tensor) -> Iterator[Tensor]:
    """Yields the vectors that a module multiplies, in pieces `[groups, positions, inputs]`.

    Args:
        module: a linear layer, or a convolution, padded in any way.
        inputs: what goes into it, samples first.
    """
    if isinstance(module, nn.Linear):
        yield inputs.reshape(1, -1, inputs.shape[-1])
        return
    kernel, stride, dilation, once = module.kernel_size, module.stride, module.dilation, (1,) * len(module.kernel_size)
    if isinstance(module, _ConvTransposeNd):
        padding = cast(tuple[int, ...], module.padding)
        wide = stuffed(inputs, kernel, stride, padding, dilation, module.output_padding)
        yield from patches(wide, kernel, once, dilation, module.groups)
    else:
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        seen = functional.pad(inputs, list(_sides(module)), mode=mode)
        yield from patches(seen, kernel, stride, dilation, module.groups)


def _sides(module: _ConvNd) -> Iterator[int]:
    """Yields what is put before and after each dimension of space, the last one first."""
    for place in reversed(range(len(module.kernel_size))):
        if isinstance(module.padding, str):
            whole = module.dilation[place] * (module.kernel_size[place] - 1) if module.padding == "same" else 0
            yield from (whole // 2, whole - whole // 2)
        else:
            yield from (module.padding[place], module.padding[place])


def channel_axis(module: nn.Linear | _ConvNd) -> int:
    """Returns which dimension of a module's output counts its channels, from the end."""
    return -1 if isinstance(module, nn.Linear) else -1 - len(module.kernel_size)
