"""Low rank by what the layer answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from laconic.calibrate import Layer, LayerEvidence
from laconic.factorize.decomposition import Decomposition, Factorization, Module
from laconic.factorize.truncation import Truncation


@final
@dataclass(frozen=True, kw_only=True)
class ActivationAwareSVD(Factorization):
    """The matrix of each rank whose answers are nearest, `min E|W x - W' x|^2 = tr(dW A dW^T)`.

    With `W A^(1/2) = U S V^T` it is `W' = U_r U_r^T W`: no inverse of `A` is needed, which may be singular.

    Guarantees:
        No matrix of the same rank has a smaller error at the layer's outputs.

    Reference:
        Zhang et al. 2015, arXiv:1505.06798, equation 4 (for the principal directions of the answers); the same
        optimum by whitening in Wang et al. 2024, arXiv:2403.07378.
    """

    def decompose(self, module: Module, layer: Layer, evidence: LayerEvidence | None = None) -> Decomposition | None:
        """Takes a linear layer or a convolution apart; without evidence as `SVD` does."""
        return Truncation.of(module, layer, evidence, weigh=True)
