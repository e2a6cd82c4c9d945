"""The running mean of a model's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from laconic.core.projection import copied
from laconic.train.shards import whole


class Mean(nn.Module):
    """A running mean of a model's weights, in eval mode.

    `mean = d * mean + (1 - d) * model`, with `d = min(decay, 1 - 1 / (step + 1))`, so that it is a plain mean at first.
    Buffers are copied.
    """

    steps: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copied(model).requires_grad_(False).eval()
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def follow(self, model: nn.Module, decay: float) -> None:
        """Moves the mean towards the model."""
        self.steps += 1
        kept = min(decay, 1 - 1 / (self.steps.item() + 1))
        for mean, now in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(whole(now), 1 - kept)
        for buffer, new in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(new)
