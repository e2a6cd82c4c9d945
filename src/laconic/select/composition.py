"""Two techniques on one weight, the second within what the first one established."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.coding import Coding
from laconic.core.codings import Sparse
from laconic.prune.weights import Sparsification


class Encoder(Protocol):
    """A technique that gives a weight another representation."""

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Coding:
        """Returns the weight in it."""


@final
@dataclass(frozen=True, kw_only=True)
class MaskThen:
    """Zeros first, then fewer bits or values for what is left; zeros stay zero.

    Args:
        mask: decides which weights become zero, and fits the others.
        then: codes those; one that knows of zeros (`keep_zeros=True`) leaves them out of its compensation.

    Reference:
        Han, Mao and Dally 2016, arXiv:1510.00149 (pruning, then quantisation).
    """

    mask: Sparsification
    then: Encoder

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight masked, what is left coded.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """
        masked = self.mask.encode(weight, layer, evidence)
        return replace(masked, inner=self.then.encode(masked.decode(), layer, evidence))
