"""Texts with their tokens in another order, or with fewer of them; everything that belongs to a token goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Batch
from laconic.distill.growing import tokens_of

Order = Callable[[list[int]], list[int]]
"""Positions of the tokens that may change -> those that stand there afterwards, as many or fewer."""
GOES_WITH_IDS = ("attention_mask", "token_type_ids")


def free_positions(batch: Batch, protected: Sequence[int]) -> Tensor:
    """Returns which tokens may change: those that count and are not protected; bool `[samples, positions]`."""
    tokens = tokens_of(batch)
    free = torch.isin(tokens, tokens.new_tensor(list(protected))).logical_not()
    return free & _counting(batch, tokens)


def rewritten(batch: Batch, order: Order, *, protected: Sequence[int], pad: int = 0) -> Batch:
    """Returns the texts with their free tokens in another order, the others where they were, pads at the end.

    Args:
        batch: ids; `attention_mask`, `token_type_ids` and labels of each token go along where there are some.
        order: what becomes of a text's free tokens.
        protected: ids that stay where they are.
        pad: the id that fills up texts which have become shorter.
    """
    tokens = tokens_of(batch)
    free, counts = free_positions(batch, protected), _counting(batch, tokens)
    rows = [_row(f, c, order) for f, c in zip(free.tolist(), counts.tolist(), strict=True)]
    sources = torch.tensor([row + [0] * (tokens.shape[1] - len(row)) for row in rows], device=tokens.device)
    there = torch.tensor([[i < len(row) for i in range(tokens.shape[1])] for row in rows], device=tokens.device)

    def moved(value: Any, filler: int) -> Any:
        if not isinstance(value, Tensor) or value.shape != tokens.shape:
            return value
        return value.gather(1, sources).where(there, filler)

    kwargs = {
        name: moved(value, pad if value is tokens else 0) if value is tokens or name in GOES_WITH_IDS else value
        for name, value in batch.kwargs.items()
    }
    args = tuple(moved(value, pad) if value is tokens else value for value in batch.args)
    return Batch(args=args, kwargs=kwargs, labels=moved(batch.labels, IGNORED_LABEL))


def check_probability(where: str, probability: float) -> None:
    """Raises a `UsageError` unless a probability is one."""
    if not 0 <= probability <= 1:
        raise invalid(where, probability, "a probability in [0, 1]", "For 10 % write 0.1.")


def _counting(batch: Batch, tokens: Tensor) -> Tensor:
    mask = batch.kwargs.get("attention_mask")
    same = isinstance(mask, Tensor) and mask.shape == tokens.shape
    return mask.bool() if same and isinstance(mask, Tensor) else torch.ones_like(tokens, dtype=torch.bool)


def _row(free: list[bool], counts: list[bool], order: Order) -> list[int]:
    """Returns the source of each position of one text that is left; positions that do not count keep their place."""
    now = iter(order([i for i, may in enumerate(free) if may]))
    sources = (next(now, None) if may else i for i, may in enumerate(free))
    left = [source for source in sources if source is not None]
    return [source for source in left if counts[source]] + [source for source in left if not counts[source]]
