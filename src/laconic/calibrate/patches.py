"""What the kernel of a convolution sees, as vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import EllipsisType

from torch import Tensor, split
from torch.nn import functional

from laconic.calibrate.moments import room


def patches(
    inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Iterator[Tensor]:
    """Yields what a convolution's kernel sees at each position of an input that is already padded.

    Args:
        inputs: `[samples, channels, *space]`.
        kernel: sizes in space; likewise `stride` and `dilation`.
        stride: steps between positions.
        dilation: steps between a kernel's elements.
        groups: of channels.

    Yields:
        `[groups, positions, channels / groups * prod(kernel)]`, at most `room` elements unless one line of positions
        has more.
    """
    seen = windows(inputs, kernel, stride, dilation, groups)
    out = seen.shape[3 : 3 + len(kernel)]
    size = seen.shape[2] * math.prod(kernel)
    lines = max(1, room(groups, size) // (groups * size * math.prod(out[1:])))
    for some in split(seen, max(1, lines // out[0]), dim=0):
        for piece in split(some, lines, dim=3):
            positions = range(3, 3 + len(out))
            taps = range(3 + len(out), piece.dim())
            ordered = piece.permute(1, 0, *positions, 2, *taps)
            yield ordered.reshape(groups, -1, size)


def windows(
    inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """Returns a view `[samples, groups, channels of a group, *positions, *kernel]` of an input already padded."""
    inputs = inputs.reshape(len(inputs), groups, inputs.shape[1] // groups, *inputs.shape[2:]).contiguous()
    axes = range(3, inputs.dim())
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    out = [(inputs.shape[a] - r - 1) // s + 1 for a, r, s in zip(axes, reach, stride, strict=True)]
    steps = [inputs.stride(a) for a in axes]
    return inputs.as_strided(
        (*inputs.shape[:3], *out, *kernel),
        (
            *inputs.stride()[:3],
            *(p * s for p, s in zip(steps, stride, strict=True)),
            *(p * d for p, d in zip(steps, dilation, strict=True)),
        ),
    )


def padded(inputs: Tensor, padding: Sequence[int]) -> Tensor:
    """Returns the input with as many zeros on both sides of each dimension of space."""
    return functional.pad(inputs, [p for pad in reversed(padding) for p in (pad, pad)])


def stuffed(
    inputs: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
) -> Tensor:
    """Returns the input over which a transposed convolution is a plain one of stride 1 with a mirrored kernel."""
    spread = [(n - 1) * s + 1 for n, s in zip(inputs.shape[2:], stride, strict=True)]
    wide = inputs.new_zeros((*inputs.shape[:2], *spread))
    places: list[EllipsisType | slice] = [..., *(slice(None, None, s) for s in stride)]
    wide[tuple(places)] = inputs
    margins = []
    for k, p, d, extra in reversed(list(zip(kernel, padding, dilation, output_padding, strict=True))):
        margins += [d * (k - 1) - p, d * (k - 1) - p + extra]
    return functional.pad(wide, margins)
