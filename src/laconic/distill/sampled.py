"""Sequences drawn token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch, Task
from laconic.distill.decoding import check_length
from laconic.distill.growing import tokens_of, with_tokens


@final
@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Draws each token from what the model says: `softmax(logits / temperature)`; temperature 0 takes the likeliest.

    Works with any model that maps ids to logits `[samples, positions, tokens]`, and calls it anew for every token;
    `Generated` is faster for models that can generate by themselves. Prompts of one batch have one length, or are
    padded on the left with an `attention_mask`. Draws come from PyTorch's global generator.

    Args:
        length: how many tokens follow at most.
        temperature: 0 or positive.
        end: the token that ends a sequence; None: none does.

    Example:
        >>> always_next = lambda ids: torch.nn.functional.one_hot((ids + 1) % 4, 4).float()
        >>> class Counting(nn.Module):
        ...     def forward(self, ids):
        ...         return always_next(ids)
        >>> task = Task(evaluate=[torch.tensor([[0]])])
        >>> Sampled(length=2, temperature=0)(Counting(), Batch(args=(torch.tensor([[0]]),)), task)
        tensor([[0, 1, 2]])
    """

    length: int = 64
    temperature: float = 1.0
    end: int | None = None

    def __post_init__(self) -> None:
        check_length("Sampled", self.length)
        if not 0 <= self.temperature < float("inf"):
            raise invalid("Sampled.temperature", self.temperature, "0 or a positive number")

    def __call__(self, model: nn.Module, prompt: Batch, task: Task) -> Tensor:
        """Returns the prompts' tokens and those that follow, `[samples, positions]`."""
        tokens = tokens_of(prompt)
        over = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        for _ in range(self.length):
            drawn = self._draw(task.forward(model, with_tokens(prompt, tokens))[:, -1]).to(tokens.dtype)
            if self.end is not None:
                drawn = drawn.where(~over, self.end)
                over = over | (drawn == self.end)
            tokens = torch.cat([tokens, drawn[:, None]], dim=1)
            if bool(over.all()):
                break
        return tokens

    def _draw(self, logits: Tensor) -> Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial((logits.float() / self.temperature).softmax(-1), 1)[:, 0]
