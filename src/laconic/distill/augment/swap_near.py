"""Words that change places with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from laconic.core.task import Batch
from laconic.distill.augment.rewriting import check_probability, rewritten

ORDERS = ((1, 0), (2, 1, 0), (2, 0, 1), (1, 2, 0))
"""What becomes of `ab`, or of `abc`: `ba`, `cba`, `cab`, `bca`."""


@final
@dataclass(frozen=True, kw_only=True)
class SwapNear:
    """From left to right, each token changes places with those after it with some probability: short disorder.

    Two or three tokens are then put into another order, `ba`, `cba`, `cab` or `bca`, one of the four drawn evenly or,
    with `pairs_only`, always the first; the next one follows after them.

    Args:
        probability: at each token, in [0, 1].
        pairs_only: only neighbours change places.
        protected: ids that stay.
    """

    probability: float = 0.1
    pairs_only: bool = True
    protected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_probability("SwapNear.probability", self.probability)

    def __call__(self, batch: Batch) -> Batch:
        """Returns texts in another order."""
        return rewritten(batch, self._order, protected=self.protected)

    def _order(self, positions: list[int]) -> list[int]:
        found = list(positions)
        i = 0
        while i < len(found) - 1:
            order = self._drawn(len(found) - i)
            found[i : i + len(order)] = [found[i + k] for k in order]
            i += len(order)
        return found

    def _drawn(self, left: int) -> tuple[int, ...]:
        if torch.rand(()) >= self.probability:
            return (0,)
        order = ORDERS[0] if self.pairs_only else ORDERS[int(torch.randint(len(ORDERS), ()))]
        return order if len(order) <= left else ORDERS[0]
