"""Advice as pure data: what to do, in which order, what it should bring, and what was turned down and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from laconic.core.budget import Budget
from laconic.core.target import Target
from laconic.measure.record import RECORD, from_json, to_json
from laconic.report.record import Way


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Advice:
    """An answer to "which compression fits?", before anything long has started.

    Args:
        model: what it is about, in words.
        target: where the model will run.
        budget: the limits that were asked for.
        feasible: whether any way should meet them, as far as that is known without training and export.
        answer: the advice in a sentence.
        steps: what to do, in order, each with what it should save and cost.
        ways: all that was considered, with the reason for what was turned down.
        training: what to expect of learning from the original.
        risks: what may spoil it.
        costs: what finding out took and what carrying it out should take: (what, how much).
        command: how to carry it out.

    Guarantees:
        `Advice.from_json(advice.to_json())` equals `advice`.
    """

    model: str
    target: Target
    budget: Budget
    feasible: bool
    answer: str
    steps: tuple[str, ...]
    ways: tuple[Way, ...]
    training: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    costs: tuple[tuple[str, str], ...] = ()
    command: str

    def __str__(self) -> str:
        """The answer and all that leads to it, as the shell prints it."""
        from laconic.report.terminal import advice, plain

        return plain(advice(self))

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return to_json(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Advice:
        """Undoes `to_json`.

        Raises:
            ArtifactError: a key is unknown or missing, or a value makes no sense; the message names the first such.
        """
        return from_json(Advice, content)
