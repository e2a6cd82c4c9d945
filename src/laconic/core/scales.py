"""Scales in two bytes where that does no harm."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST, LARGEST = torch.finfo(torch.float16).smallest_normal, torch.finfo(torch.float16).max


def short(scale: Tensor) -> Tensor:
    """Returns scales in float16 if all of them are normal numbers there (6.2e-5 to 65,504 in size), else as they are.

    Each moves by at most one part in 2,048, so a grid of `b` bits moves by at most `2**(b - 12)` of a step at its end:
    a sixteenth at 8 bits, a 256th at 4. Solvers round a scale before the codes that go with it, which makes up for it.

    Example:
        >>> short(torch.tensor([0.1, -2.0])).dtype, short(torch.tensor([0.1, 1e-6])).dtype
        (torch.float16, torch.float32)
    """
    size = scale.abs()
    return scale.half() if bool(((size >= SMALLEST) & (size <= LARGEST)).all()) else scale
