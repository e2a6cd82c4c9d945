"""The smallest weights go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.codings import Sparse
from laconic.prune.weights.patterns import BlockPattern, Pattern
from laconic.prune.weights.technique import Sparsification, checked, finite, in_single, removing


@final
@dataclass(frozen=True, kw_only=True)
class SmallestWeights(Sparsification):
    """Zeroes the weights of least magnitude, `score = w^2`.

    Args:
        sparsity: share of zeros, in [0, 1).
        pattern: where they may lie.
        half: store what is kept in float16.

    Reference:
        Han et al. 2015, arXiv:1506.02626.

    Example:
        >>> import torch
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(1, 4))
        >>> SmallestWeights().encode(torch.tensor([[3.0, -1.0, 2.0, -4.0]]), layer).decode()
        tensor([[ 3.,  0.,  0., -4.]])
    """

    sparsity: float = 0.5
    pattern: Pattern = field(default_factory=BlockPattern)
    half: bool = False

    def __post_init__(self) -> None:
        checked(self)

    def scores(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Tensor:
        """Returns `w^2`."""
        return in_single(finite(weight, layer).double().square())

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight with zeros; the evidence is not asked."""
        return removing(self, finite(weight, layer), layer, self.scores(weight, layer))
