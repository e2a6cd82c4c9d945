"""How long work tells what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listens to a pipeline."""

    def begin(self, stage: str) -> None:
        """A stage begins."""

    def step(self, done: int, total: int, note: str) -> None:
        """Some of the stage's work is done."""

    def end(self) -> None:
        """The stage has ended, well or not."""

    def say(self, text: str) -> None:
        """Something worth knowing was found."""


class Silent:
    """Listens and says nothing."""

    def begin(self, stage: str) -> None:
        """Nothing."""

    def step(self, done: int, total: int, note: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""
