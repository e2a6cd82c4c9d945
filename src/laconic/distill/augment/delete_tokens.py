"""Tokens that are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from laconic.core.task import Batch
from laconic.distill.augment.rewriting import check_probability, rewritten


@final
@dataclass(frozen=True, kw_only=True)
class DeleteTokens:
    """Each token is left out with some probability; what follows moves up.

    Args:
        probability: of each token, in [0, 1].
        pad: the id that fills up what has become shorter.
        protected: ids that stay.

    Example:
        >>> DeleteTokens(probability=1.0, protected=(1, 2))(Batch(args=(torch.tensor([[1, 5, 6, 2]]),))).args
        (tensor([[1, 2, 0, 0]]),)
    """

    probability: float = 0.1
    pad: int = 0
    protected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_probability("DeleteTokens.probability", self.probability)

    def __call__(self, batch: Batch) -> Batch:
        """Returns shorter texts."""
        return rewritten(batch, self._kept, protected=self.protected, pad=self.pad)

    def _kept(self, positions: list[int]) -> list[int]:
        stays = torch.rand(len(positions)) >= self.probability
        return [position for position, stay in zip(positions, stays.tolist(), strict=True) if stay]
