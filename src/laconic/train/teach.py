"""A student learns from a teacher, in one call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from laconic.core.errors import invalid
from laconic.core.task import Task, check_is_task
from laconic.distill import DistillationLoss, Match, SoftLabels, SquaredError, pair_layers
from laconic.distill.augment import Augmentation
from laconic.train.augmented import augmented
from laconic.train.imitation import check_lesson, distillation
from laconic.train.loop import Progress, train
from laconic.train.step import Callback, Pairing
from laconic.train.tracking import Trackers
from laconic.train.training import Training, training_of
from laconic.train.validation import Validation


def default_loss(task: Task) -> DistillationLoss:
    """Returns what is matched unless one says otherwise: outputs of a regression, else soft labels at temperature 2."""
    return SquaredError() if task.score.regression else SoftLabels(temperature=2.0)


def distill(
    teacher: nn.Module,
    student: nn.Module,
    task: Task,
    *,
    loss: DistillationLoss | None = None,
    match: Sequence[Match] | str = (),
    training: Training | None = None,
    epochs: int | None = None,
    work: str | Path | None = None,
    progress: Progress | None = None,
    teacher_task: Task | None = None,
    augment: Sequence[Augmentation] = (),
    validation: Validation | None = None,
    trackers: Trackers = (),
    callbacks: Sequence[Callback] = (),
) -> nn.Module:
    """Trains a student to answer like its teacher, and returns it; the student is trained in place.

    Args:
        teacher: left as it is.
        student: any module that answers the same task in the same shape.
        task: `task.train` is the data; it needs no labels unless the loss wants them.
        loss: how the answers are compared; None: `default_loss(task)`.
        match: layers that are to be alike as well; `"auto"`: those that `laconic.distill.pair_layers` finds;
            `"learned"`: the same, but whom each learns from is learned along; the logger `laconic` says in the end whom
            (as information), every `Step` and the trackers say it meanwhile.
        training: how to train; None: AdamW with a cosine schedule for `epochs`.
        epochs: passes over the data in place of `training`; None: 10.
        work: folder for the checkpoint, from which a run that was killed goes on.
        progress: called after every step.
        teacher_task: how the teacher is called (`call`, `logits`) where it reads other inputs; None: as the student.
        augment: what is done to every batch before both see it, such as `laconic.distill.augment.Mixup()`.
        validation: what to score the student on meanwhile; it ends with the weights that scored best.
        trackers: what writes the run down, as in `laconic.train.train`.
        callbacks: called after every step, as there.

    Raises:
        ModelError: teacher and student do not answer in the same shape.
        UsageError: a match whose module does not exist or is not called exactly once, or whose shapes do not fit; an
            argument of another kind.
        DataError: no training data, or a batch that does not fit.
        TrainingError: a loss that is not finite.
    """
    _check(task, augment, callbacks)
    training, loss = training_of(training, epochs), loss or default_loss(task)
    check_lesson(teacher, loss, match)
    if isinstance(match, str):
        if match not in ("auto", "learned"):
            raise invalid("match", match, "a sequence of Match, 'auto' or 'learned'")
        match = pair_layers(teacher, student, task, teacher_task=teacher_task, learned=match == "learned")
    objective = distillation(teacher, task, loss, match, teacher_task=teacher_task)
    objective = augmented(objective, *augment)
    trained = train(
        student,
        task,
        training,
        objective=objective,
        work=work,
        progress=progress,
        validation=validation,
        trackers=trackers,
        callbacks=callbacks,
    )
    for line in told(trained.pairing):
        logging.getLogger("laconic").info(line)
    return trained.model


def _check(task: object, augment: object, callbacks: object) -> None:
    check_is_task(task, "distill")
    for name, given in (("augment", augment), ("callbacks", callbacks)):
        if not isinstance(given, Sequence) or not all(map(callable, given)):
            raise invalid(f"distill.{name}", given, "a sequence of what is called", f"For one write {name}=[...].")


def told(pairing: Pairing) -> list[str]:
    """Returns a line for each layer of the student: whom it has learned from, those who count most first.

    Example:
        >>> told({"layer.0": {"layer.1": 0.25, "layer.2": 0.75}})
        ['layer.0 has learned from layer.2 (75 %), layer.1 (25 %)']
    """
    lines = []
    for layer, shares in pairing.items():
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        lines.append(
            f"{layer} has learned from " + ", ".join(f"{other} ({100 * share:.0f} %)" for other, share in ranked)
        )
    return lines
