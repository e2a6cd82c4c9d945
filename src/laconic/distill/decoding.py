"""How a model goes on from a prompt, one file a way: `Sampled`, `Beams`, `Generated`."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from laconic.core.errors import check_whole
from laconic.core.task import Batch, Task


class Decoding(Protocol):
    """One way to go on."""

    @property
    def end(self) -> int | None:
        """The token that ends a sequence; None: none does."""

    def __call__(self, model: nn.Module, prompt: Batch, task: Task) -> Tensor:
        """Returns the prompts' tokens and those that follow, `[samples, positions]`, filled up with `end`."""


def check_length(where: str, length: int) -> None:
    """Raises a `UsageError` unless at least one token is to follow."""
    check_whole(f"{where}.length", length, 1)
