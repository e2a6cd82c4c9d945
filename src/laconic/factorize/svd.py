"""Low rank by the weight alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from laconic.calibrate import Layer, LayerEvidence
from laconic.factorize.decomposition import Decomposition, Factorization, Module
from laconic.factorize.truncation import Truncation


@final
@dataclass(frozen=True, kw_only=True)
class SVD(Factorization):
    """The nearest matrix of each rank, `min |W - W'|^2`: the singular value decomposition, cut off.

    The baseline: it does not know which inputs occur. `ActivationAwareSVD` costs the same and does.

    Reference:
        Eckart and Young 1936; for convolutions Zhang et al. 2015, arXiv:1505.06798, section 2.1 (without data).
    """

    def decompose(self, module: Module, layer: Layer, evidence: LayerEvidence | None = None) -> Decomposition | None:
        """Takes a linear layer or a convolution apart; the evidence only prices the ranks."""
        return Truncation.of(module, layer, evidence, weigh=False)
