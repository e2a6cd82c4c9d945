"""A text of which a few words in a row are left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from laconic.core.errors import invalid
from laconic.core.task import Batch
from laconic.distill.augment.rewriting import check_probability, rewritten


@final
@dataclass(frozen=True, kw_only=True)
class SampleSpan:
    """Of each text, an n-gram is left: its length is drawn from `lengths`, its place evenly.

    Args:
        lengths: of which one is drawn evenly, each from 1.
        probability: that a text is cut at all, in [0, 1].
        pad: the id that fills up what has become shorter.
        protected: ids that stay.

    Reference:
        Tang, Lu, Liu, Mou, Vechtomova, Lin, 2019, arXiv:1903.12136, section 3.3 (n-gram sampling).
    """

    lengths: tuple[int, ...] = (1, 2, 3, 4, 5)
    probability: float = 0.25
    pad: int = 0
    protected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.lengths or not all(isinstance(length, int) and length >= 1 for length in self.lengths):
            raise invalid("SampleSpan.lengths", self.lengths, "whole numbers from 1, at least one")
        check_probability("SampleSpan.probability", self.probability)

    def __call__(self, batch: Batch) -> Batch:
        """Returns shorter texts."""
        return rewritten(batch, self._span, protected=self.protected, pad=self.pad)

    def _span(self, positions: list[int]) -> list[int]:
        if torch.rand(()) >= self.probability:
            return positions
        length = self.lengths[int(torch.randint(len(self.lengths), ()))]
        start = int(torch.randint(max(1, len(positions) - length + 1), ()))
        return positions[start : start + length]
