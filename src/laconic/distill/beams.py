"""Beam search: the likeliest sequences, several kept at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from laconic.core.errors import check_whole
from laconic.core.task import Batch, Task
from laconic.distill.decoding import check_length
from laconic.distill.growing import rows_of, tokens_of, with_tokens


@final
@dataclass(frozen=True, kw_only=True)
class Beams:
    """Keeps the `beams` likeliest beginnings at every step, and returns the best in the end.

    Sequences are compared by `log probability / tokens^length_penalty`, the tokens counted up to their end.

    Works with any model that maps ids to logits `[samples, positions, tokens]`, and calls it anew for every token;
    `Generated` is faster for models that can generate by themselves. Prompts of one batch have one length, or are
    padded on the left with an `attention_mask`.

    Args:
        length: how many tokens follow at most.
        beams: how many are kept, from 1, which is the likeliest token each time.
        end: the token that ends a sequence; None: none does.
        length_penalty: 0 for none; larger values favour longer sequences.

    Guarantees:
        With as many beams as there are beginnings, no sequence is likelier than the one found.
    """

    length: int = 64
    beams: int = 4
    end: int | None = None
    length_penalty: float = 0.0

    def __post_init__(self) -> None:
        check_length("Beams", self.length)
        check_whole("Beams.beams", self.beams, 1)

    def __call__(self, model: nn.Module, prompt: Batch, task: Task) -> Tensor:
        """Returns the prompts' tokens and the best that follow, `[samples, positions]`."""
        tokens = tokens_of(prompt)[:, None]  # [samples, beams, positions]
        scores = tokens.new_zeros(len(tokens), 1, dtype=torch.float32)
        over = torch.zeros_like(scores, dtype=torch.bool)
        lengths = torch.zeros_like(scores)
        for _ in range(self.length):
            wide = rows_of(prompt, torch.arange(len(tokens), device=tokens.device).repeat_interleave(tokens.shape[1]))
            nats = task.forward(model, with_tokens(wide, tokens.flatten(0, 1)))[:, -1].float().log_softmax(-1)
            origin, drawn, scores = self._best(scores, nats.view(*scores.shape, -1), over)
            grown = tokens.gather(1, origin[..., None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([grown, drawn[..., None].to(tokens.dtype)], dim=2)
            lengths = lengths.gather(1, origin) + ~over.gather(1, origin)
            over = over.gather(1, origin) if self.end is None else over.gather(1, origin) | (drawn == self.end)
            # The first beam is the likeliest; without a penalty, nothing that goes on can overtake it.
            if bool(over.all() if self.length_penalty else over[:, 0].all()):
                break
        best = (scores / lengths**self.length_penalty).argmax(1)
        return self._trimmed(tokens[torch.arange(len(tokens), device=tokens.device), best])

    def _trimmed(self, tokens: Tensor) -> Tensor:
        """Returns sequences without what only the ends of other beams have filled up."""
        while self.end is not None and bool((tokens[:, -2:] == self.end).all()):
            tokens = tokens[:, :-1]
        return tokens

    def _best(self, scores: Tensor, nats: Tensor, over: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns origin, token and score of the best continuations, each `[samples, beams]`."""
        if self.end is not None:  # A sequence that is over goes on with its end alone, at no cost.
            ended = torch.full_like(nats, -torch.inf)
            ended[..., self.end] = 0
            nats = nats.where(~over[..., None], ended)
        classes = nats.shape[-1]
        total = (scores[..., None] + nats).flatten(1)
        found = total.topk(min(self.beams, total.shape[1]), dim=1)
        return found.indices // classes, found.indices % classes, found.values
