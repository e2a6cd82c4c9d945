"""Weights go whose removal changes the model's answers least, each by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.calibrate.view import View
from laconic.core.codings import Sparse
from laconic.prune.weights.patterns import BlockPattern, Pattern
from laconic.prune.weights.technique import Sparsification, checked, energies, finite, in_single, pulls, removing


@final
@dataclass(frozen=True, kw_only=True)
class BrainDamage(Sparsification):
    """Zeroes the weights with the least `1/2 G_ii A_jj w_ij^2`, the change of the model's answers in nats.

    `G` and `A` are the second moments of the gradient at the layer's outputs and of its inputs: the diagonal of their
    product stands for that of the Hessian. Without gradients `G_ii` is one, and scores of layers do not compare.

    Args:
        sparsity: share of zeros, in [0, 1).
        pattern: where they may lie.
        half: store what is kept in float16.

    Reference:
        LeCun, Denker and Solla 1990, Optimal brain damage.
    """

    sparsity: float = 0.5
    pattern: Pattern = field(default_factory=BlockPattern)
    half: bool = False

    def __post_init__(self) -> None:
        checked(self)

    def scores(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Tensor:
        """Returns `1/2 G_ii A_jj w_ij^2`."""
        squares, seen = finite(weight, layer).double().square(), reached(evidence)
        if seen is None:
            return in_single(squares)
        view = View.of(layer, whole_kernels=False)
        return in_single(squares * view.spread(energies(seen)) * view.spread_outputs(pulls(seen)) / 2)

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight with zeros."""
        return removing(self, finite(weight, layer), layer, self.scores(weight, layer, evidence))
