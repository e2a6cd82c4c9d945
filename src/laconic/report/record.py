"""A report as pure data: everything that a page says, and nothing that has to be looked up elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.dataclasses import dataclass

from laconic.core.budget import Budget
from laconic.core.target import Target
from laconic.measure import Figures
from laconic.measure.record import RECORD, from_json, to_json


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Attempt:
    """One plan that was tried and measured.

    Args:
        name: short, such as `"int8"`.
        plan: what it does, in a sentence.
        figures: what was measured of it.
        accepted: this is the one that was returned; the others were taken back.
        why: the reason for either, in words.
    """

    name: str
    plan: str
    figures: Figures
    accepted: bool
    why: str


@dataclass(frozen=True, kw_only=True, config=RECORD)
class StepRow:
    """One part of the plan that was carried out, in its order.

    Args:
        done: what was done, in words.
        nats: distance of the model so far from the original, KL in nats on held-back calibration data.
        size_bytes: of all weights and buffers so far, coded.
        macs: multiply-accumulates of one sample so far.
    """

    done: str
    nats: float
    size_bytes: int
    macs: int


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Way:
    """One way to the budget that was considered before anything was trained or exported.

    Args:
        plan: what it would do, in a sentence.
        size_bytes: of the file, about.
        macs: multiply-accumulates of one sample.
        nats: what it was predicted to cost without training; None: it cannot be gone.
        verdict: what became of it and why, in words.
    """

    plan: str
    size_bytes: int | None
    macs: int | None
    nats: float | None
    verdict: str


@dataclass(frozen=True, kw_only=True, config=RECORD)
class LayerRow:
    """One layer, before and after.

    Args:
        name: its path in the model, such as `"features.0"`.
        kind: such as `"Conv2d"`.
        parameters: of the original layer.
        bytes_before: of its weights in the original file.
        bytes_after: of its weights in the compressed file.
        done: what was done to it, in words.
        kernel: what the runtime runs it with; None where that is not known.
        why: the reason for what was done or left, in words.
    """

    name: str
    kind: str
    parameters: int
    bytes_before: int
    bytes_after: int
    done: str
    kernel: str | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Report:
    """A compression, from question to evidence.

    Args:
        title: of the page.
        model: what was compressed, in words.
        task: what it was judged on, in words, such as `"360 held-out digits"`.
        target: where it runs; latency is judged at its number of threads.
        budget: the limits that were asked for.
        misses: limits that were not met, in words; empty when the budget holds.
        original: figures of the original.
        compressed: figures of what was returned.
        steps: the parts of the plan that was returned, each with what it cost and saved.
        ways: what was considered before anything was tried.
        attempts: every plan tried, in order.
        layers: every layer with weights, in the model's order.
        plan_words: the plan that was applied, one edit a line.
        methods: how each figure was measured: (figure, method).
        command: the exact command that repeats the run.
        facts: versions and machine: (name, value).
        warnings: what the reader must know before trusting the result.
        seconds: time of each stage: (stage, seconds).

    Guarantees:
        `Report.from_json(report.to_json())` equals `report`.
    """

    title: str
    model: str
    task: str
    target: Target
    budget: Budget
    misses: tuple[str, ...] = ()
    original: Figures
    compressed: Figures
    steps: tuple[StepRow, ...] = ()
    ways: tuple[Way, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    plan_words: tuple[str, ...] = ()
    methods: tuple[tuple[str, str], ...] = ()
    command: str
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: tuple[tuple[str, float], ...] = ()

    @property
    def met(self) -> bool:
        """Whether every limit holds; True without limits."""
        return not self.misses

    @property
    def limited(self) -> bool:
        """Whether there was any limit."""
        return self.budget != Budget()

    def __str__(self) -> str:
        """The answer and the comparison, as the shell prints them."""
        from laconic.report.terminal import plain, summary

        return plain(summary(self))

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return to_json(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Report:
        """Undoes `to_json`.

        Raises:
            ArtifactError: a key is unknown or missing, or a value makes no sense; the message names the first such.
        """
        return from_json(Report, content)
