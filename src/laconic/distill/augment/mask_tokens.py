"""Tokens that become a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from laconic.core.task import Batch
from laconic.distill.augment.rewriting import check_probability, free_positions
from laconic.distill.growing import tokens_of, with_tokens


@final
@dataclass(frozen=True, kw_only=True)
class MaskTokens:
    """Each token becomes the mask with some probability.

    Args:
        mask: the mask's id.
        probability: of each token, in [0, 1].
        protected: ids that stay, such as those that begin and end a text.

    Reference:
        Tang, Lu, Liu, Mou, Vechtomova, Lin, 2019, arXiv:1903.12136, section 3.3.

    Example:
        >>> MaskTokens(mask=9, probability=1.0, protected=(1,))(Batch(args=(torch.tensor([[1, 5, 6]]),))).args
        (tensor([[1, 9, 9]]),)
    """

    mask: int
    probability: float = 0.1
    protected: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_probability("MaskTokens.probability", self.probability)

    def __call__(self, batch: Batch) -> Batch:
        """Returns the batch with masks in it."""
        tokens = tokens_of(batch)
        chosen = free_positions(batch, self.protected) & (torch.rand(tokens.shape) < self.probability).to(tokens.device)
        return with_tokens(batch, tokens.masked_fill(chosen, self.mask), labels=batch.labels)
