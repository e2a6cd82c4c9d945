"""Spans whose halves change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from laconic.core.errors import invalid
from laconic.core.task import Batch
from laconic.distill.augment.rewriting import check_probability, rewritten


@final
@dataclass(frozen=True, kw_only=True)
class SwapHalves:
    """From left to right, a span that begins at a token swaps its halves with some probability: long disorder.

    Args:
        span: length in tokens, even, from 2; the next span begins after it.
        probability: at each token, in [0, 1].
        protected: ids that stay.

    Example:
        >>> SwapHalves(span=4, probability=1.0)(Batch(args=(torch.tensor([[1, 2, 3, 4, 5]]),))).args
        (tensor([[3, 4, 1, 2, 5]]),)
    """

    span: int = 20
    probability: float = 0.1
    protected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.span, int) or self.span < 2 or self.span % 2:
            raise invalid("SwapHalves.span", self.span, "an even number from 2")
        check_probability("SwapHalves.probability", self.probability)

    def __call__(self, batch: Batch) -> Batch:
        """Returns texts in another order."""
        return rewritten(batch, self._order, protected=self.protected)

    def _order(self, positions: list[int]) -> list[int]:
        found = list(positions)
        i = 0
        while i <= len(found) - self.span:
            if torch.rand(()) < self.probability:
                middle, last = i + self.span // 2, i + self.span
                found[i:last] = found[middle:last] + found[i:middle]
                i = last
            else:
                i += 1
        return found
