"""Two techniques on one weight, the second within what the first one established."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from laconic.calibrate import Encoder, Layer, LayerEvidence, reached
from laconic.core.codings import Sparse
from laconic.core.edit import Recode
from laconic.prune.weights.technique import Sparsification


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
        evidence = reached(evidence)
        return self.within(self.mask.encode(weight, layer, evidence), layer, evidence)

    def within(self, masked: Sparse, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns what `encode` returns, given what `mask` makes of the weight."""
        coded = self.then.encode(masked.decode(), layer, evidence)
        # One that keeps zeros by a mask of its own says them again.
        return replace(masked, inner=coded.inner if isinstance(coded, Sparse) else coded)

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))
