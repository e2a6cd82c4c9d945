"""Weights go whose product with what they see is small."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.calibrate.view import View
from laconic.core.codings import Sparse
from laconic.prune.weights.patterns import BlockPattern, Pattern
from laconic.prune.weights.technique import Sparsification, checked, energies, finite, in_single, removing


@final
@dataclass(frozen=True, kw_only=True)
class Wanda(Sparsification):
    """Zeroes the weights with the least `|w_ij| ||x_j||`, the same number in every output.

    Scores are squares, `w_ij^2 A_jj`, so that they add up over blocks. Nothing makes up for what goes.

    Args:
        sparsity: share of zeros, in [0, 1).
        pattern: where they may lie.
        half: store what is kept in float16.

    Reference:
        Sun et al. 2023, arXiv:2306.11695, equation 1.
    """

    sparsity: float = 0.5
    pattern: Pattern = field(default_factory=BlockPattern)
    half: bool = False

    def __post_init__(self) -> None:
        checked(self)

    def scores(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Tensor:
        """Returns `w_ij^2 A_jj`."""
        squares, seen = finite(weight, layer).double().square(), reached(evidence)
        if seen is None:
            return in_single(squares)
        return in_single(squares * View.of(layer, whole_kernels=False).spread(energies(seen)))

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight with zeros."""
        scores = self.scores(weight, layer, evidence)
        return removing(self, finite(weight, layer), layer, scores, by_row=True)
