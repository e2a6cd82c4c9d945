"""Linear equations by conjugate gradients, for unknowns that many weights share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ENOUGH = 1e-10  # Of the first residual's squared length: what float32 can tell.


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, diagonal: Tensor, *, steps: int
) -> Tensor:
    """Returns `x` nearer to the solution of `P x = right`, `P` symmetric and positive semidefinite.

    Args:
        product: `x -> P x`.
        right: any shape.
        start: the same shape.
        diagonal: of `P`, the same shape, not negative; unknowns with zero stay as they are.
        steps: at most so many; one product each, and one before.

    Guarantees:
        `x P x - 2 x right` does not grow, up to rounding. With as many steps as unknowns the solution is exact, up to
        rounding.

    Reference:
        Hestenes and Stiefel 1952 (with Jacobi's preconditioner).

    Example:
        >>> P, right = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([3.0, 4.0])
        >>> conjugate_gradients(lambda x: P @ x, right, torch.zeros(2), P.diagonal(), steps=2).round()
        tensor([1., 1.])
    """
    inverse = torch.where(diagonal > 0, 1 / diagonal.clamp_min(torch.finfo(diagonal.dtype).tiny), 0.0)
    found, residual = start, right - product(start)
    direction = inverse * residual
    length = first = (residual * direction).sum()
    for _ in range(steps):
        if not length > ENOUGH * first:
            break
        pushed = product(direction)
        step = length / (direction * pushed).sum()
        if not step.isfinite():
            break
        found, residual = found + step * direction, residual - step * pushed
        scaled = inverse * residual
        length, before = (residual * scaled).sum(), length
        direction = scaled + length / before * direction
    return found
