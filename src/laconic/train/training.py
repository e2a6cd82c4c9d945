"""How a run is trained: how long, with what, how repeatable."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from laconic.core.errors import check_whole, invalid
from laconic.train.describe import describe
from laconic.train.optimizer import AdamW, OptimizerFactory
from laconic.train.schedule import Cosine, Schedule

Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training run.

    Args:
        epochs: passes over the training data, or
        steps: optimizer steps. Exactly one of the two.
        optimizer: `AdamW(...)`, `SGD(...)`, or any callable `model -> torch.optim.Optimizer` (not one that needs a
            closure).
        schedule: `Cosine(...)`, `Linear(...)`, `Constant(...)`, or any callable `(step, total) -> factor`.
        clip_norm: largest norm of the whole gradient, or None.
        accumulate: batches for one optimizer step, which is then the step of one batch of them all (batch norm, and
            losses that compare samples with each other, see each by itself). Schedules and `steps` count steps.
        average: the run ends with the running mean of the weights, of which this share stays in a step, in (0, 1), such
            as 0.999; None: with the weights of the last step.
        seed: of everything random: order of samples, dropout, augmentation.
        mixed_precision: `"no"`, `"bf16"` or `"fp16"` (on a GPU). None: what `accelerate launch` says, else `"no"`.
        noise: dropout and batch statistics as usual in training. False: both as in evaluation, so that a model which is
            nearly right starts from what it does there.
        checkpoint_every: steps between two checkpoints, where a run has a folder for them.

    Example:
        >>> Training(epochs=3, optimizer=AdamW(learning_rate=5e-4)).optimizer
        AdamW(learning_rate=0.0005, weight_decay=0.01, betas=(0.9, 0.999))
    """

    epochs: int | None = None
    steps: int | None = None
    optimizer: OptimizerFactory = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=lambda: Cosine(warmup=0.05))
    clip_norm: float | None = 1.0
    accumulate: int = 1
    average: float | None = None
    seed: int = 0
    mixed_precision: Precision | None = None
    noise: bool = True
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise invalid("Training.epochs, steps", (self.epochs, self.steps), "exactly one of the two")
        for name in ("epochs", "steps", "accumulate", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None:
                check_whole(f"Training.{name}", value, 1)
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise invalid("Training.clip_norm", self.clip_norm, "a positive number, or None")
        if self.average is not None and not 0 < self.average < 1:
            raise invalid("Training.average", self.average, "a share in (0, 1), or None", "Usual is 0.99 to 0.9999.")
        check_whole("Training.seed", self.seed, 0)
        if self.mixed_precision not in (None, *get_args(Precision)):
            raise invalid("Training.mixed_precision", self.mixed_precision, "None, 'no', 'bf16' or 'fp16'")

    def total_steps(self, loader: Iterable[Any]) -> int:
        """Returns the steps of the whole run; a loader without a length is walked once to count its batches."""
        if self.steps is not None:
            return self.steps
        return math.ceil((self.epochs or 0) * count_batches(loader) / self.accumulate)

    def epoch_steps(self, loader: Iterable[Any]) -> int:
        """Returns the steps of one pass over the data, at least 1."""
        return max(1, math.ceil(count_batches(loader) / self.accumulate))

    def describe(self) -> dict[str, str]:
        """Returns what decides the outcome, in words that are the same in every process."""
        return {f.name: describe(getattr(self, f.name)) for f in fields(self) if f.name != "checkpoint_every"}


def training_of(training: Training | None, epochs: int | None) -> Training:
    """Returns what a person has said in one of two ways.

    Raises:
        UsageError: both were said, or what was said is something else.
    """
    if training is None:
        return Training(epochs=10 if epochs is None else epochs)
    if not isinstance(training, Training):
        raise invalid("training", training, "a Training, such as Training(epochs=3)", "Or pass epochs alone.")
    if epochs is not None:
        raise invalid("training, epochs", (training, epochs), "one of the two", "Write Training(epochs=...).")
    return training


def count_batches(loader: Iterable[Any]) -> int:
    """Returns a loader's length, or how many batches it yields if it has none."""
    try:
        return len(loader)  # type: ignore[arg-type]  # That there may be no length is what `except` is for.
    except TypeError:
        return sum(1 for _ in loader)
