"""Chance: what every other criterion has to beat."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import final

import torch

from laconic.graph.axes import Axis
from laconic.prune.importance.removal import Importance, Known, Removal


@final
@dataclass(frozen=True, kw_only=True)
class Random(Importance):
    """A random order, the same for the same seed and axis whatever else is pruned.

    Args:
        seed: of the generator; the global one is left alone.
    """

    seed: int = 0

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Any order."""
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {axis.name}".encode()))
        return Removal.by(torch.rand(axis.size, generator=generator))
