"""Weights go one input after the other, and those still to come make up for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.calibrate.view import View
from laconic.core.codings import Sparse
from laconic.core.errors import check_whole, invalid
from laconic.prune.weights.brain_damage import BrainDamage
from laconic.prune.weights.patterns import BlockPattern, NOfM, Pattern
from laconic.prune.weights.problem import Problem
from laconic.prune.weights.technique import Sparsification, checked, finite, in_single, pulls, removing, stored
from laconic.solve.support import prune_in_order

FEWEST, DECISIONS = 4, 128  # Columns are decided at least so many at once, and in about so many goes.


@final
@dataclass(frozen=True, kw_only=True)
class CompensatedSparsity(Sparsification):
    """Zeroes weights in one sweep over the inputs, then fits what is left.

    Columns are decided some at a time: those weights go whose removal costs least once all later ones have made up for
    it, among all that are undecided (so the layer's sparsity is met, not each column's). Then the weights that are left
    take the values of least squares for the whole layer.

    Where only the diagonal of `A` is known (an embedding, more than 12,288 inputs) nothing can make up for anything,
    and `BrainDamage` is what remains.

    Args:
        sparsity: share of zeros, in [0, 1).
        pattern: where they may lie.
        half: store what is kept in float16.
        damping: added to the diagonal of `A`, as a share of its mean; more for less trust in the calibration data.
        steps: of conjugate gradients for the last fit; 0: none.

    Guarantees:
        The last fit makes no output's error larger.

    Reference:
        Frantar and Alistarh 2023, arXiv:2301.00774 (SparseGPT); Hassibi and Stork 1992 (optimal brain surgeon).
    """

    sparsity: float = 0.5
    pattern: Pattern = field(default_factory=BlockPattern)
    half: bool = False
    damping: float = 0.01
    steps: int = 100

    def __post_init__(self) -> None:
        checked(self)
        check_solver(self, self.damping, steps=self.steps)

    def scores(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Tensor:
        """Returns `1/2 G_ii w_ij^2 / [A^-1]_jj`: what a removal costs when all others make up for it."""
        return surgery(weight, layer, reached(evidence), self.damping)

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight with zeros, all others fitted."""
        weight, seen = finite(weight, layer), reached(evidence)
        if seen is None or seen.input_sum.dim() == 2:
            return removing(self, weight, layer, BrainDamage().scores(weight, layer, seen))
        problem = Problem.of(weight, seen, self.pattern, damping=self.damping)
        together, single = self.pattern.width(problem.target.shape[1]), isinstance(self.pattern, NOfM)
        wanted = together if single else max(FEWEST, problem.target.shape[1] // DECISIONS)
        width, unit = -(-wanted // together) * together, 1 if single else together
        found = prune_in_order(problem.felt, problem.metric, _Budget(self), width=width, unit=unit)
        values, mask = problem.solved(*found, steps=self.steps)
        return stored(self, values, layer, mask)


class _Budget:
    """Keeps account of how much is still to go."""

    def __init__(self, technique: Sparsification) -> None:
        self.technique = technique
        self.left: int | None = None

    def __call__(self, scores: Tensor, count: int) -> Tensor:
        pattern = self.technique.pattern
        shape = (scores.shape[0], scores.shape[1], scores.shape[2])
        if isinstance(pattern, NOfM):
            return pattern.keep(scores[:, :, :count], 0)
        assert isinstance(pattern, BlockPattern)
        if self.left is None:
            self.left = pattern.removed(shape, self.technique.sparsity)
        kept = pattern.keep(scores, self.left)[:, :, :count]
        self.left -= int((pattern.means(kept.float()) == 0).sum())
        return kept


def surgery(weight: Tensor, layer: Layer, evidence: LayerEvidence | None, damping: float) -> Tensor:
    """Returns `1/2 G_ii w_ij^2 / [A^-1]_jj` of every weight, `w^2` without evidence."""
    if evidence is None or evidence.input_sum.dim() == 2:
        return BrainDamage().scores(weight, layer, evidence)
    damped = evidence.A.clone()
    mean = damped.diagonal(dim1=1, dim2=2).mean(1)
    damped.diagonal(dim1=1, dim2=2).add_(torch.where(mean > 0, damping * mean, 1.0)[:, None])
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped)).diagonal(dim1=1, dim2=2)
    view = View.of(layer, whole_kernels=False)
    cost = view.spread(1 / inverse) * view.spread_outputs(pulls(evidence))
    return in_single(finite(weight, layer).double().square() * cost / 2)


def check_solver(technique: Sparsification, damping: float, **counts: int) -> None:
    """Refuses settings of a solver outside their domain."""
    where = f"prune.weights.{type(technique).__name__}"
    if not damping > 0:
        raise invalid(f"{where}.damping", damping, "a positive number")
    for name, count in counts.items():
        check_whole(f"{where}.{name}", count, 0)
