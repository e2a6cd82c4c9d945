"""Which weights go is decided for all of a layer together, by splitting the error from the pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.codings import Sparse
from laconic.prune.weights.brain_damage import BrainDamage
from laconic.prune.weights.compensated import check_solver, surgery
from laconic.prune.weights.patterns import BlockPattern, Pattern
from laconic.prune.weights.problem import Problem
from laconic.prune.weights.technique import Sparsification, checked, finite, removing, stored
from laconic.solve.support import alternate


@final
@dataclass(frozen=True, kw_only=True)
class AlternatingSparsity(Sparsification):
    """Zeroes weights by the alternating direction method of multipliers, then fits what is left.

    No order of inputs is preferred, unlike in a sweep; it takes longer, and costs less at high sparsity.

    Where only the diagonal of `A` is known, `BrainDamage` is what remains.

    Args:
        sparsity: share of zeros, in [0, 1).
        pattern: where they may lie.
        half: store what is kept in float16.
        damping: added to the diagonal of `A`, as a share of its mean; more for less trust in the calibration data.
        rounds: at most so many steps of the search.
        steps: of conjugate gradients for the last fit.

    Reference:
        Meng et al. 2024, arXiv:2406.07831 (ALPS).
    """

    sparsity: float = 0.5
    pattern: Pattern = field(default_factory=BlockPattern)
    half: bool = False
    damping: float = 0.01
    rounds: int = 300
    steps: int = 100

    def __post_init__(self) -> None:
        checked(self)
        check_solver(self, self.damping, rounds=self.rounds, steps=self.steps)

    def scores(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Tensor:
        """Returns `1/2 G_ii w_ij^2 / [A^-1]_jj`: what a removal costs when all others make up for it."""
        return surgery(weight, layer, reached(evidence), self.damping)

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight with zeros, all others fitted."""
        weight, seen = finite(weight, layer), reached(evidence)
        if seen is None or seen.input_sum.dim() == 2:
            return removing(self, weight, layer, BrainDamage().scores(weight, layer, seen))
        problem = Problem.of(weight, seen, self.pattern, damping=self.damping)
        removed = self.pattern.removed(problem.view.layout.matrix, self.sparsity)
        keep = partial(self.pattern.keep, removed=removed)
        kept = alternate(problem.felt, problem.moment, keep, rounds=self.rounds)
        values, mask = problem.solved(problem.target * kept, kept, steps=self.steps)
        return stored(self, values, layer, mask)
