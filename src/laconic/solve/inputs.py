"""What a layer reads in the original model and in a changed one, and the weight that answers to the change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from laconic.solve.vectors import vectors

DAMPINGS = (0.01, 0.1, 1.0, 10.0)
HELD_BACK = 4  # Every so many samples, one is held back to see how far the others can be trusted.


@final
@dataclass(frozen=True, eq=False)
class Inputs:
    """Second moments of a layer's inputs: `x` in the original model, `x'` in a changed one.

    Args:
        second: sum of `x' x'^T`, float64 `[groups, inputs, inputs]`.
        cross: sum of `x x'^T`, likewise.
        positions: how many were summed, in each group.
    """

    second: Tensor
    cross: Tensor
    positions: int

    @classmethod
    def of(cls, module: nn.Linear | _ConvNd, before: Iterable[Tensor], after: Iterable[Tensor]) -> Self:
        """Sums over batches of the module's inputs: products of pieces in float32, their sums in float64."""
        second = cross = torch.zeros(())
        positions = 0
        for one, other in zip(before, after, strict=True):
            for x, changed in zip(vectors(module, one), vectors(module, other), strict=True):
                x, changed = x.float(), changed.float()
                second, cross = second + (changed.mT @ changed).double(), cross + (x.mT @ changed).double()
                positions += x.shape[1]
        return cls(second.cpu(), cross.cpu(), positions)

    def __add__(self, other: Inputs) -> Inputs:
        return Inputs(self.second + other.second, self.cross + other.cross, self.positions + other.positions)

    def answering(self, matrix: Tensor, damping: float) -> Tensor:
        """Returns `D` such that `(W + D) x'` is nearest to `W x`, float64: `W E[(x - x') x'^T] E[x' x'^T]^-1`.

        Args:
            matrix: `W`, `[groups, outputs, inputs]`.
            damping: added to the second moment's diagonal, as a share of its mean: what little is known of does not
                change much.
        """
        energy = self.second.diagonal(dim1=1, dim2=2).mean(1)
        damped = self.second.clone()
        damped.diagonal(dim1=1, dim2=2).add_(torch.where(energy > 0, damping * energy, 1.0)[:, None])
        wanted: Tensor = torch.cholesky_solve(self._missing(matrix).mT, torch.linalg.cholesky(damped))
        return wanted.mT

    def gain(self, matrix: Tensor, change: Tensor) -> float:
        """Returns by how much `|W x - (W + D) x'|^2` is less than `|W x - W x'|^2`, summed over positions."""
        return float(((2 * self._missing(matrix) - change @ self.second) * change).sum())

    def _missing(self, matrix: Tensor) -> Tensor:
        return matrix.double() @ (self.cross - self.second)


def answer_to_change(
    module: nn.Linear | _ConvNd, matrix: Tensor, before: list[Tensor], after: list[Tensor]
) -> tuple[Tensor, Inputs]:
    """Returns the matrix whose answers to changed inputs are nearest to its own to the original ones.

    How much is learnt from the samples, if anything, is decided on samples held back.

    Args:
        module: the layer.
        matrix: its weight as `[groups, outputs, inputs]`.
        before: batches of its inputs in the original model.
        after: the same in the changed one.

    Returns:
        The matrix, and the moments of all samples.
    """
    fit, held = (Inputs.of(module, *pair) for pair in zip(_split(before), _split(after), strict=True))
    seen = fit + held
    if not (fit.positions and held.positions and bool(seen.second.isfinite().all())):
        return matrix, seen
    gains = {damping: held.gain(matrix, fit.answering(matrix, damping)) for damping in DAMPINGS}
    best = max(gains, key=lambda damping: gains[damping])
    if gains[best] <= 0:
        return matrix, seen
    return (matrix + seen.answering(matrix, best)).to(matrix.dtype), seen


def _split(batches: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the samples to learn from and those held back."""
    learnt, held, count = [], [], 0
    for batch in batches:
        back = (torch.arange(count, count + len(batch)) + 1) % HELD_BACK == 0
        learnt.append(batch[~back])
        held.append(batch[back])
        count += len(batch)
    return [x for x in learnt if len(x)], [x for x in held if len(x)]
