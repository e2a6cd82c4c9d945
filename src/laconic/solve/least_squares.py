"""The best values of weights of which some must be zero."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-6  # Of the gradient's length, against that at zero: what float32 can tell.


def least_squares(target: Tensor, start: Tensor, mask: Tensor, moment: Tensor, *, steps: int = 100) -> Tensor:
    """Moves weights inside a mask to where `tr(E H E^T)`, `E = W - target`, is least, by conjugate gradients.

    Every output has a mask of its own and so its own system of equations, `H` restricted to what the mask keeps; all
    are solved side by side, which takes one product with `H` a step and no factorisation.

    Args:
        target: `[groups, inputs, outputs]`.
        start: the same; zero outside the mask.
        mask: bool, the same: what may differ from zero.
        moment: `H`, `[groups, inputs, inputs]`, positive definite.
        steps: at most so many.

    Returns:
        Like `start`.

    Guarantees:
        No output's error grows, up to rounding. With as many steps as inputs the solution is exact, up to rounding.

    Reference:
        Hestenes and Stiefel 1952.
    """
    scale = moment.diagonal(dim1=1, dim2=2)[:, :, None]
    found = start * mask
    residual = (moment @ (target - found)) * mask
    enough = TOLERANCE**2 * ((moment @ target).square() / scale).sum(1, keepdim=True)
    direction = residual / scale
    length = (residual * direction).sum(1, keepdim=True)
    for _ in range(steps):
        active = length > enough
        if not bool(active.any()):
            break
        image = (moment @ direction) * mask
        curvature = (direction * image).sum(1, keepdim=True)
        step = torch.where(active & (curvature > 0), length / curvature, 0.0)
        found = found + step * direction
        residual = residual - step * image
        shorter = (residual.square() / scale).sum(1, keepdim=True)
        direction = residual / scale + torch.where(active, shorter / length, 0.0) * direction
        length = torch.where(active, shorter, length)
    return found
