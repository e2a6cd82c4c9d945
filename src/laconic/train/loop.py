"""The one training loop: on labels or from a teacher, on one CPU or many machines, interrupted or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import nn

from laconic.core.errors import DataError
from laconic.core.projection import copied
from laconic.core.task import Task
from laconic.train import randomness
from laconic.train.checkpoint import FILE_NAME
from laconic.train.interrupt import held_interrupts
from laconic.train.objective import Objective
from laconic.train.place import accelerator_for, lent
from laconic.train.run import Run
from laconic.train.step import Callback, Pairing
from laconic.train.tracking import Trackers, log_step, tracking
from laconic.train.training import Training
from laconic.train.validation import Validation


class Progress(Protocol):
    """What the loop tells after every step; a progress bar, a log, or a plain function."""

    def __call__(self, step: int, total: int, loss: float) -> None:
        """Takes the steps made, the steps of the whole run, and the loss of the last step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished run.

    Args:
        model: the model that was given, trained, in eval mode.
        steps: optimizer steps that were made in all.
        resumed_at: the step at which this call took the run up; 0 for a run from the start.
        losses: the terms of the loss at the last step.
        scores: step and score of every validation.
        best_step: whose weights the model has, where there was validation.
        pairing: layer of the student -> layer of the teacher -> how much it was learned from in the end, as a share,
            where that was learned (`match="learned"`, `AttendedLayers`).
    """

    model: nn.Module
    steps: int
    resumed_at: int
    losses: Mapping[str, float]
    scores: tuple[tuple[int, float], ...] = ()
    best_step: int | None = None
    pairing: Pairing = field(default_factory=dict)


def train(
    model: nn.Module,
    task: Task,
    training: Training,
    *,
    objective: Objective,
    work: Path | str | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    validation: Validation | None = None,
    trackers: Trackers = (),
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Trains a model in place and returns it; pass a copy to keep the original.

    Started by `torchrun` or `accelerate launch`, the same call trains on several processes: each reads every batch and
    works on its share of it, so that the batch size means the same however many there are. (Batch norm, and losses that
    compare samples with each other, see the share only; a loss on features is weighted as the labels of the share are.)
    With `accelerate launch --use_fsdp --fsdp_version 2` the model, its gradients and the optimizer's state are sharded:
    then a copy is trained, and the model has its weights in the end.

    Args:
        model: any module with trainable parameters; it goes to the accelerator's device and comes back.
        task: `task.train` is the data.
        training: how long, with which optimizer and schedule.
        objective: `supervised(task)`, `distillation(teacher, task, loss)`, or an `Objective` of your own.
        work: folder for the checkpoint. None: there is none.
        resume: go on from the folder's checkpoint if there is one; a finished run then returns at once.
        progress: called after every step, in the first process only.
        validation: what to score the model on meanwhile; it ends with the weights that scored best.
        trackers: what writes the run down, by accelerate's names (`"tensorboard"`, `"wandb"`, `"mlflow"`, ...) or as
            objects such as `JsonLines(path)`: every term of the loss, weighted and not, learning rate, scores.
        callbacks: called after every step with a `Step`, in every process; one that returns True ends the run.

    Raises:
        UsageError: a tracker that is not installed, or validation on `Task.evaluate`.
        DataError: no training data, a batch that does not fit the model, labels out of range.
        ModelError: nothing to train.
        TrainingError: a loss that is not finite, or the checkpoint of another run; the last checkpoint stays.
        ArtifactError: the checkpoint is damaged or cannot be written.
        KeyboardInterrupt: Ctrl-C; the current step is finished and a checkpoint written first.

    Guarantees:
        The same arguments give the same weights, whatever the state of the global random generators.
        A run that is killed and resumed gives the same weights, bit for bit, as one that was not (same machine, same
        number of threads).
        Teachers, and the caller's random state, are as before.

    Example:
        >>> import torch
        >>> from laconic.train import SGD, supervised
        >>> x = torch.linspace(-1, 1, 32)[:, None]
        >>> task = Task(train=[(x, 3 * x)], evaluate=[(x, 3 * x)], metric="mse")
        >>> training = Training(steps=200, optimizer=SGD(learning_rate=0.1))
        >>> trained = train(torch.nn.Linear(1, 1), task, training, objective=supervised(task))
        >>> trained.model.weight.detach().round(decimals=2)
        tensor([[3.]])
    """
    if validation is not None:
        validation.check(task)
    accelerator = accelerator_for(training.mixed_precision, trackers, None if work is None else Path(work))
    path = None if work is None else Path(work) / FILE_NAME
    # Sharding changes a module for good, so the caller's own stays out of it.
    learner = copied(model) if accelerator.is_fsdp2 else model
    with (
        lent(learner, objective.teachers, accelerator.device, noise=training.noise, back=learner is model),
        randomness.undisturbed(accelerator.device),
    ):
        run = Run(learner, task, training, objective, accelerator, validation)
        if run.total == 0:
            raise DataError("Task.train: the loader yields no batches; expected at least one. Check its data set.")
        if path is not None and resume and path.exists():
            run.load(path)
        resumed_at = run.step
        with tracking(accelerator, {**training.describe(), "objective": objective.name}):
            _finish(run, path, progress if accelerator.is_main_process else None, callbacks)
        if (weights := run.chosen()) is not None:
            model.load_state_dict(weights)
    return Trained(
        model=model.eval(),
        steps=run.step,
        resumed_at=resumed_at,
        losses=run.losses,
        scores=tuple(run.watched.scores),
        best_step=run.watched.scores[run.watched.best][0] if run.watched.scores else None,
        pairing=run.pairing(),
    )


def _finish(run: Run, path: Path | None, progress: Progress | None, callbacks: Sequence[Callback]) -> None:
    if path is not None and run.step == 0:
        run.save(path)  # So that a folder that cannot be written is known now, not after an hour.
    with held_interrupts() as interrupted:
        while not run.done:
            _advance(run, interrupted)
            _tell(run, callbacks)
            if progress is not None:
                progress(run.step, run.total, run.loss)
            stop = interrupted()
            # Several processes note Ctrl-C at different steps and cannot write together: the last checkpoint stays.
            due = run.done or run.step % run.training.checkpoint_every == 0 or (stop and run.alone)
            if path is not None and due:
                run.save(path)
            if stop:
                raise KeyboardInterrupt


def _tell(run: Run, callbacks: Sequence[Callback]) -> None:
    run.validate()
    if not callbacks and not run.accelerator.trackers:
        return
    step = run.told()
    log_step(run.accelerator, step, run.task.score.name)
    if True in [callback(step) for callback in callbacks]:
        run.stopped = True


def _advance(run: Run, interrupted: Callable[[], bool]) -> None:
    try:
        run.advance()
    except RuntimeError:
        if interrupted():  # Ctrl-C ends a loader's worker processes too, and then the loader fails.
            raise KeyboardInterrupt from None
        raise
