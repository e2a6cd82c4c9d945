"""Products with a second moment, cheap enough for a search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PIECES = 8  # Columns of a moment that are multiplied at once, as a share of all.
EXACT = 256  # Up to so many inputs the product itself is cheap.
RANK = 16


def through(moment: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a function from matrices to matrices: multiplication by a second moment.

    Beyond 256 inputs the moment is replaced by its action on 16 directions, found among those with the most energy, and
    the diagonal of what they leave over: enough to compare errors, and linear in the number of inputs.

    Args:
        moment: float64 `[groups, inputs, inputs]`, positive semidefinite, or its diagonal `[groups, inputs]`.

    Returns:
        From float32 `[groups, outputs, inputs]` to the same shape, in memory of its own.

    Reference:
        Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 5.5 (the Nystrom method).
    """
    single = moment.float()
    if moment.dim() == 2:
        return lambda matrix: matrix * single[:, None, :]
    if moment.shape[1] <= EXACT:
        return lambda matrix: matrix @ single
    factor = _factor(single)
    rest = (single.diagonal(dim1=1, dim2=2) - factor.square().sum(2)).clamp_min(0)
    return lambda matrix: torch.baddbmm(matrix * rest[:, None, :], matrix @ factor, factor.mT)


def halfway(moment: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns a function `E -> E U` with `tr(E U E^T) = tr(E A E^T)` for every row, exactly, for half the work.

    `U` holds what is above the diagonal of `A` twice and nothing below it, block by block.

    Args:
        moment: `A`, symmetric, `[groups, inputs, inputs]`.

    Returns:
        From float32 `[groups, outputs, inputs]` to the same shape, in memory of its own.
    """
    single = moment.float()
    inputs = single.shape[1]
    step = max(-(-inputs // PIECES), 1)

    def product(matrix: Tensor) -> Tensor:
        found = torch.empty_like(matrix, memory_format=torch.contiguous_format)
        for start in range(0, inputs, step):
            part = slice(start, start + step)
            found[:, :, part] = 2 * (matrix[:, :, :start] @ single[:, :start, part])
            found[:, :, part] += matrix[:, :, part] @ single[:, part, part]
        return found

    return product


def _factor(moment: Tensor) -> Tensor:
    """Returns `F [groups, inputs, 16]` with `F F^T` near the moment and never above it."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(moment.shape[1], RANK, generator=generator, dtype=moment.dtype)
    basis = torch.linalg.qr((moment @ (moment @ start)).double()).Q
    image = (moment @ basis.to(moment.dtype)).double()
    values, vectors = torch.linalg.eigh(basis.mT @ image)
    safe = values > 1e-12 * values[:, -1:].clamp_min(torch.finfo(values.dtype).tiny)
    scaled = vectors * torch.where(safe, values, torch.inf).rsqrt()[:, None, :]
    factor: Tensor = (image @ scaled).float()
    return factor
