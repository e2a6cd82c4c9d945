"""Least squares from sums: the weight and bias that turn a layer's inputs into wanted outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.calibrate.moments import gram

DAMPINGS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, math.inf)
TINY = 1e-30
TRIED_OUTPUTS = 64
"""Outputs on which dampings are compared, at least, where there are as many."""


@dataclass
class Sums:
    """Sums over positions of a layer's inputs `x` and wanted outputs `y`, float64.

    Args:
        joint: sum of `z z^T` with `z` the inputs and a one at the end, `[groups, inputs + 1, inputs + 1]`.
        wanted: sum of `y z^T`, `[groups, outputs, inputs + 1]`.
    """

    joint: Tensor
    wanted: Tensor

    @classmethod
    def like(cls, weight: Tensor) -> Sums:
        """Returns sums of nothing for a weight `[groups, outputs, inputs]`."""
        groups, outputs, inputs = weight.shape
        return cls(
            joint=weight.new_zeros(groups, inputs + 1, inputs + 1, dtype=torch.float64),
            wanted=weight.new_zeros(groups, outputs, inputs + 1, dtype=torch.float64),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.joint + other.joint, self.wanted + other.wanted)

    def of_outputs(self, some: slice) -> Sums:
        """Returns the sums for some outputs alone."""
        return Sums(self.joint, self.wanted[:, some])

    def add(self, x: Tensor, y: Tensor) -> None:
        """Adds positions: `x [groups, positions, inputs]`, `y [groups, positions, outputs]`."""
        z = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        self.joint += gram(z).double()
        self.wanted += (y.mT @ z).double()

    def solve(self, weight: Tensor, damping: float, *, constant: bool = True) -> tuple[Tensor, Tensor]:
        """Returns the weight and bias of the least squared error, drawn to a weight where the inputs do not say.

        With centred moments `A = cov(x, x)` and `C = cov(y, x)`, `W' = W + (C - W A) (A + damping mean(diag A) I)^-1`,
        `b' = mean(y) - W' mean(x)`.

        Args:
            weight: `[groups, outputs, inputs]`, float64.
            damping: not negative; infinite: the weight stays.
            constant: False: the layer has no bias. Moments are then not centred, and the returned bias is zero.
        """
        joint, wanted = self.joint / self.joint[:, -1:, -1:], self.wanted / self.joint[:, -1:, -1:]
        x, y = joint[:, -1:, :-1] * constant, wanted[..., -1:] * constant
        A, C = joint[:, :-1, :-1] - x.mT @ x, wanted[..., :-1] - y @ x
        solved = weight if damping == math.inf else weight + _ridge(A, C - weight @ A, damping)
        return solved, (y - solved @ x.mT)[..., 0]

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """Returns the squared error summed over positions and outputs, up to what does not depend on the weight."""
        both = torch.cat([weight, bias[..., None]], -1)
        return float(((both @ self.joint - 2 * self.wanted) * both).sum())


def best_damping(
    fit: Sums, held: Sums, weight: Tensor, *, constant: bool = True, dampings: Sequence[float] = DAMPINGS
) -> float:
    """Returns the damping with which what some samples taught errs least on others; the strongest of equals.

    Of many outputs some serve, evenly spread: they have their inputs in common, and one damping.
    """
    some = slice(None, None, max(1, weight.shape[1] // TRIED_OUTPUTS))
    fit, held, weight = fit.of_outputs(some), held.of_outputs(some), weight[:, some]
    errors = {damping: held.error(*fit.solve(weight, damping, constant=constant)) for damping in sorted(dampings)}
    return min(reversed(errors), key=lambda damping: errors[damping])


def _ridge(A: Tensor, missing: Tensor, damping: float) -> Tensor:
    scale = A.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(TINY)
    damped = A + damping * scale[:, None, None] * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    factor, failed = torch.linalg.cholesky_ex(damped)
    change = missing.mT if bool(failed.any()) else torch.cholesky_solve(missing.mT, factor)
    if bool(failed.any()) or not bool(change.isfinite().all()):  # Inputs that depend on each other, undamped.
        change = torch.linalg.pinv(damped, hermitian=True) @ missing.mT
    return change.mT
