"""Second moments of what a kernel sees, without laying out all it sees at every position."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, split

from laconic.calibrate.moments import EXACT, FULL, on_double_device, room, second_moment
from laconic.calibrate.patches import patches, windows


def window_moment(
    inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> tuple[Tensor, int]:
    """Sums `x x^T` over the vectors that `patches` yields: what a kernel sees of an input that is already padded.

    Where the kernel moves on by one line at a time, the lines that it sees are seen by its neighbours too, and what
    two lines have in common depends only on how far apart they lie: `k` products do for a kernel of `k` lines, where
    vectors laid out one by one take `k^2`.

    Args:
        inputs: `[samples, channels, *space]`.
        kernel: sizes in space; likewise `stride` and `dilation`.
        stride: steps between positions.
        dilation: steps between a kernel's elements.
        groups: of channels.

    Returns:
        As `second_moment`: float64 `[groups, size, size]`, `size` the channels of a group times the kernel's elements,
        or its diagonal; and the number of positions in a group.
    """
    size = inputs.shape[1] // groups * math.prod(kernel)
    if stride[0] > 1 or kernel[0] == 1 or size > FULL:
        return second_moment(patches(inputs, kernel, stride, dilation, groups))
    reach = (kernel[0] - 1) * dilation[0]
    line = groups * size // kernel[0] * math.prod(inputs.shape[3:])
    held = max(2 * reach + 1, room(groups, size) // max(line, 1))
    total = torch.zeros(groups, size, size, dtype=torch.float64, device=on_double_device(inputs[:0]).device)
    count = 0
    for some in split(inputs, max(1, held // inputs.shape[2])):
        for start in range(0, inputs.shape[2] - reach, held - reach):
            band = _lines(some[:, :, start : start + held], kernel, stride, dilation, groups)
            _add_moment(total, band.double() if size <= EXACT else band.float(), kernel, dilation[0])
            count += (band.shape[1] - reach) * band.shape[2]
    return total, count


def _lines(
    inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """Returns what one line of the kernel sees: `[groups, lines, positions, channels of a group * rest of kernel]`."""
    seen = windows(on_double_device(inputs), (1, *kernel[1:]), stride, dilation, groups)
    space, taps = range(4, 3 + len(kernel)), range(3 + len(kernel), seen.dim())
    ordered = seen.permute(1, 3, 0, *space, 2, *taps)
    return ordered.reshape(
        groups,
        seen.shape[3],
        len(inputs) * math.prod(seen.shape[4 : 3 + len(kernel)]),
        inputs.shape[1] // groups * math.prod(kernel[1:]),
    )


def _add_moment(total: Tensor, band: Tensor, kernel: Sequence[int], step: int) -> None:
    """Adds the moment of all vectors whose lines lie in a band, the lines of a vector `step` apart."""
    groups, lines, _, width = band.shape
    rest = math.prod(kernel[1:])
    blocks = total.view(groups, width // rest, kernel[0], rest, width // rest, kernel[0], rest)
    positions = lines - (kernel[0] - 1) * step
    for apart in range(kernel[0]):
        found = _by_first_line(band, apart * step, kernel[0] - apart, step, positions)
        for first, product in enumerate(found):
            block = product.double().view(groups, width // rest, rest, width // rest, rest)
            blocks[:, :, first, :, :, first + apart] += block
            if apart:
                blocks[:, :, first + apart, :, :, first] += block.permute(0, 3, 4, 1, 2)


def _by_first_line(band: Tensor, apart: int, firsts: int, step: int, positions: int) -> list[Tensor]:
    """Returns what lines have in common with those `apart` from them, summed over `positions` lines from each first.

    Args:
        band: `[groups, lines, positions in a line, width]`.
        apart: lines between the two.
        firsts: how many sums there are: from line 0, from line `step`, and so on.
        step: lines between their beginnings.
        positions: lines of each sum.

    Returns:
        `[groups, width, width]` each.
    """
    begins = [first * step for first in range(firsts)]

    def common(start: int, stop: int) -> Tensor:
        one, other = (band[:, start + by : stop + by].flatten(1, 2) for by in (0, apart))
        return one.mT @ other

    # Most lines are in all sums; the others come one by one.
    shared = common(begins[-1], positions) if begins[-1] < positions else None
    edges = [line for line in range(begins[-1] + positions) if shared is None or not begins[-1] <= line < positions]
    alone = {line: common(line, line + 1) for line in edges if any(b <= line < b + positions for b in begins)}
    sums = []
    for begin in begins:
        terms = [product for line, product in alone.items() if begin <= line < begin + positions]
        sums.append(torch.stack([*terms, *([] if shared is None else [shared])]).sum(0))
    return sums
