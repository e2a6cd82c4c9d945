"""What is offered unless one says otherwise."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.coding import Coding
from laconic.factorize import ActivationAwareSVD, Factorization
from laconic.quantize import CompensatedRounding


class Encoder(Protocol):
    """A technique that gives a weight another representation."""

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Coding:
        """Returns the weight in it."""


Technique = Encoder | Factorization

MENU: tuple[Technique, ...] = (
    *(CompensatedRounding(bits=bits) for bits in (8, 6, 5, 4, 3, 2)),
    ActivationAwareSVD(),
)
