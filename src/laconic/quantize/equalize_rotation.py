"""An orthogonal map that spreads the outliers of a few channels over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Turns residual streams: what writes to them is multiplied by `Q`, what reads them by `Q` too, and `Q Q^T = 1`.

    The root mean square that a normalisation divides by is that of the turned values, once its gain went into the
    weights that read it; where it takes a mean out, `Q` keeps the mean. `Q` is a Hadamard matrix with random signs; of
    a size `n 2^k` the product of one of size `2^k` and a random orthogonal one of size `n`.

    Args:
        seed: of signs.

    Reference:
        Ashkboos et al. 2024, arXiv:2401.15024 (SliceGPT, section 3: computational invariance); Ashkboos et al. 2024,
        arXiv:2404.00456 (QuaRot, stage 1).

    Example:
        >>> matrix = Rotation().matrix(4, keep_mean=False)
        >>> (matrix.abs() * 2).round().unique().tolist(), bool((matrix @ matrix.mT).allclose(torch.eye(4).double()))
        ([1.0], True)
    """

    seed: int = 0

    def matrix(self, size: int, *, keep_mean: bool) -> Tensor:
        """Returns `Q`, float64 `[size, size]`; with `keep_mean`, `x Q` has the mean of `x`."""
        generator = torch.Generator().manual_seed(self.seed)
        power = size & -size
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while len(matrix) < power:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)]) / 2**0.5
        rest = torch.randn(size // power, size // power, generator=generator, dtype=torch.float64)
        signs = torch.randint(2, (size, 1), generator=generator) * 2.0 - 1
        matrix = signs * torch.kron(matrix, torch.linalg.qr(rest).Q.contiguous())
        return _keeping_mean(matrix) if keep_mean else matrix


def _keeping_mean(matrix: Tensor) -> Tensor:
    """Returns the matrix followed by the reflection that brings the image of a constant vector back to itself."""
    constant = torch.full((len(matrix),), len(matrix) ** -0.5, dtype=matrix.dtype)
    away = matrix @ constant - constant
    length = away.square().sum()
    return matrix if length < 1e-20 else matrix - torch.outer(away, away @ matrix) * (2 / length)
