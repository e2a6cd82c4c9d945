"""What every technique that codes a weight is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from laconic.calibrate.evidence import LayerEvidence
from laconic.calibrate.layer import Layer
from laconic.core.coding import Coding


class Encoder(Protocol):
    """A technique that gives a weight another representation. Techniques that build on others ask for no more."""

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Coding:
        """Returns the weight in it."""
