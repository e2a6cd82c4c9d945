"""The vectors that a layer's matrix multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from laconic.calibrate.patches import padded, patches, stuffed

MULTIPLYING = (nn.Linear, _ConvNd)


def multiplies_plainly(module: nn.Module) -> bool:
    """Whether `vectors` knows what a module does: a linear layer, or a convolution padded by numbers of zeros."""
    if isinstance(module, _ConvNd):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def vectors(module: nn.Linear | _ConvNd, inputs: Tensor) -> Iterator[Tensor]:
    """Yields the vectors that a module multiplies, in pieces `[groups, positions, inputs]`.

    Args:
        module: one that `multiplies_plainly`.
        inputs: what goes into it, samples first.
    """
    if isinstance(module, nn.Linear):
        yield inputs.reshape(1, -1, inputs.shape[-1])
        return
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    padding, once = cast(tuple[int, ...], module.padding), (1,) * len(kernel)
    if isinstance(module, _ConvTransposeNd):
        wide = stuffed(inputs, kernel, stride, padding, dilation, module.output_padding)
        yield from patches(wide, kernel, once, dilation, module.groups)
    else:
        yield from patches(padded(inputs, padding), kernel, stride, dilation, module.groups)


def channel_axis(module: nn.Linear | _ConvNd) -> int:
    """Returns which dimension of a module's output counts its channels, from the end."""
    return -1 if isinstance(module, nn.Linear) else -1 - len(module.kernel_size)
