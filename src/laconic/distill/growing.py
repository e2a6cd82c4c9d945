"""Batches of token sequences that grow from left to right, whatever the model calls its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from laconic.core.errors import DataError
from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Batch

GROWING = (("decoder_input_ids", "decoder_attention_mask"), ("input_ids", "attention_mask"))
"""Inputs that hold the sequence, the first that is there, and the mask that grows with each."""


def tokens_of(batch: Batch) -> Tensor:
    """Returns the ids that grow, `[samples, positions]`: `decoder_input_ids`, `input_ids`, or the first input.

    Raises:
        DataError: they are no whole numbers in two dimensions.
    """
    name = _name(batch)
    found = batch.args[0] if name is None and batch.args else batch.kwargs.get(name or "")
    if not isinstance(found, Tensor) or found.dim() != 2 or found.is_floating_point() or found.shape[1] == 0:
        said = f"{type(found).__name__} of shape {list(found.shape)}" if isinstance(found, Tensor) else "none"
        raise DataError(
            f"sequences: the batch's tokens are {said}; expected ids [samples, positions] as the first input, as "
            "'input_ids' or as 'decoder_input_ids', with at least one position to go on from."
        )
    return found


def with_tokens(batch: Batch, tokens: Tensor, labels: Tensor | None = None) -> Batch:
    """Returns the batch with other tokens, longer or shorter ones, and its mask as long; new positions count."""
    name = _name(batch)
    if name is None:
        return replace(batch, args=(tokens, *batch.args[1:]), labels=labels)
    kwargs: dict[str, Any] = {**batch.kwargs, name: tokens}
    mask = dict(GROWING)[name]
    if isinstance(known := batch.kwargs.get(mask), Tensor):
        new = known.new_ones(len(tokens), max(0, tokens.shape[1] - known.shape[1]))
        kwargs[mask] = torch.cat([known[:, : tokens.shape[1]], new], dim=1)
    return replace(batch, kwargs=kwargs, labels=labels)


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    """Returns the samples of these indices, which may repeat."""
    size = batch.size

    def taken(value: Any) -> Any:
        return value[rows] if isinstance(value, Tensor) and value.dim() > 0 and len(value) == size else value

    kwargs: Mapping[str, Any] = {name: taken(value) for name, value in batch.kwargs.items()}
    return Batch(args=tuple(map(taken, batch.args)), kwargs=kwargs, labels=taken(batch.labels))


def opening(batch: Batch) -> Batch:
    """Returns the prompts of a batch: all that stands before the first position that counts in any sample.

    Labels are those of next-token prediction, `labels[i] = tokens[i + 1]`, -100 over the prompt. Without labels
    everything is prompt.
    """
    tokens = tokens_of(batch)
    if batch.labels is None or batch.labels.shape != tokens.shape:
        return replace(batch, labels=None)
    counted = (batch.labels != IGNORED_LABEL).any(0).nonzero()
    first = int(counted[0]) if len(counted) else tokens.shape[1] - 1
    return with_tokens(batch, tokens[:, : first + 1])


def continued(prompt: Batch, tokens: Tensor, end: int | None) -> Batch:
    """Returns prompts with what follows them, labelled for next-token prediction.

    Args:
        prompt: the prompts.
        tokens: prompts and continuations, `[samples, positions]`.
        end: the token that ends a sequence; what stands behind it does not count. None: there is none.
    """
    start = tokens_of(prompt).shape[1]
    if tokens.dim() != 2 or tokens.shape[1] <= start:
        raise DataError(
            f"sequences: what was generated has shape {list(tokens.shape)} after prompts of {start} positions; "
            "expected the prompts and at least one token more. Return both, as transformers' generate does."
        )
    new = tokens[:, start:]
    if end is not None:
        over = (new == end).cumsum(1) - (new == end).long() > 0
        new = new.where(~over, IGNORED_LABEL)
    labels = torch.full_like(tokens, IGNORED_LABEL)
    labels[:, start - 1 : -1] = new
    return with_tokens(prompt, tokens, labels)


def _name(batch: Batch) -> str | None:
    return next((name for name, _ in GROWING if name in batch.kwargs), None)
