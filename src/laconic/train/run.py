"""One training run: its moving parts, one step, and how it is saved and taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from laconic.core.errors import DataError, LaconicError, TrainingError, invalid
from laconic.core.task import Batch, Task
from laconic.distill import Matched
from laconic.distill.weighing import unweighted
from laconic.train import randomness
from laconic.train.checkpoint import check_identity, read_checkpoint, write_checkpoint
from laconic.train.feed import Position, feed, parts_of, share
from laconic.train.ledger import Ledger
from laconic.train.objective import Moment, Objective
from laconic.train.optimizer import join
from laconic.train.place import Accelerator, to_training
from laconic.train.run_state import identity_of, state_of, take_up
from laconic.train.running_mean import Mean
from laconic.train.shards import whole, whole_state
from laconic.train.step import Step
from laconic.train.training import Training
from laconic.train.validation import Validation, Watched


@final
class Run:
    """A model on its way from step 0 to step `total`.

    Args:
        model: in train mode, on the accelerator's device.
        task: how to read batches.
        training: how to train.
        objective: what to minimise.
        accelerator: where to train.
        validation: what else to look at, if anything.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        training: Training,
        objective: Objective,
        accelerator: Accelerator,
        validation: Validation | None = None,
    ) -> None:
        self.training, self.objective, self.accelerator = training, objective, accelerator
        self.task, self.validation, self.watched = task, validation, Watched()
        self.total = training.total_steps(task.loader("train"))
        self.every = 0 if validation is None else validation.every or training.epoch_steps(task.loader("train"))
        self.step, self.stopped = 0, False
        self.saved: int | None = None
        self.losses: dict[str, float] = {}
        self.unweighted: dict[str, float] = {}
        self.score: float | None = None
        self.model = model
        self.optimizer = training.optimizer(model)
        self.mean = None if training.average is None else Mean(model)
        self.position = Position()
        self.parts = None if objective.parts is None else self._build(objective.parts, task)
        self.own = [] if self.parts is None else [p for p in self.parts.parameters() if p.requires_grad]
        self.parallel_model, scaled = accelerator.prepare(model, self.optimizer)
        # Only now: sharding looks for each of the optimizer's parameters in the model.
        join(self.optimizer, self.own)
        self.parameters = [*model.parameters(), *self.own]
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        # accelerate's own step looks for an optional package every time (0.2 ms); it is needed only to scale gradients.
        self.take_step = self.optimizer.step if accelerator.scaler is None else scaled.step
        self.random: dict[str, Tensor] = {}
        self.batches = feed(task, seed=training.seed, position=self.position, entered=self._restore_random)

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return bool(self.accelerator.num_processes == 1)

    @property
    def done(self) -> bool:
        """Whether there is no further step to make."""
        return self.stopped or self.step >= self.total

    @property
    def loss(self) -> float:
        """The loss of the last step."""
        return math.fsum(self.losses.values())

    @property
    def _moment(self) -> Moment:
        return Moment(progress=self.step / self.total, parts=self.parts)

    def advance(self) -> None:
        """Makes one step.

        Raises:
            DataError: the batch does not fit the model, or the loader is empty.
            TrainingError: the loss is not finite; the weights are those before the step.
        """
        batches = [next(self.batches) for _ in range(self.training.accumulate)]
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.training.schedule(self.step, self.total)
        # Numbers are read only after all gradients are asked for, so that a GPU has work while this waits for it.
        self.losses, self.unweighted = self._gradients(batches).read(self.accelerator)
        self._check_finite()
        self._update()
        self.step += 1

    def _gradients(self, batches: Sequence[Batch]) -> Ledger:
        """Adds up the gradients of some batches, as if they were one."""
        ledger = Ledger()
        for number, (batch, part) in enumerate(zip(batches, parts_of(batches), strict=True), start=1):
            mine, weight = share(batch, self.accelerator.process_index, self.accelerator.num_processes)
            alone = number < len(batches)  # Processes exchange gradients once, after the last batch.
            with self.accelerator.no_sync(self.parallel_model) if alone else nullcontext(), unweighted() as bare:
                terms = self._terms(mine.to(self.accelerator.device))
                self.accelerator.backward(sum(terms.values()) * (weight * part))
            ledger.add(terms, bare, weight * part)
        self._share_gradients()
        return ledger

    def _update(self) -> None:
        """Changes the weights by what the gradients say, and all that follows the weights."""
        if self.training.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.training.clip_norm)
            # Where gradients are scaled, those that are not finite are expected now and then, and left out.
            if self.accelerator.scaler is None and not math.isfinite(whole(norm)):
                raise self._broken(f"the gradients of a loss of {self.loss:g} are not finite")
        self.take_step()
        self.optimizer.zero_grad()
        if self.objective.after is not None:
            self.objective.after(self.model, self._moment)
        if self.mean is not None:
            self.mean.follow(self.model, cast(float, self.training.average))

    def validate(self) -> None:
        """Scores the model if it is time, remembers the best weights, and stops the run that no longer gets better."""
        self.score = None
        if self.validation is None or (self.step % self.every and self.step != self.total):
            return
        model = self.model if self.mean is None else self.mean.model
        with randomness.undisturbed(self.accelerator.device):
            self.score = self.validation.score(model, self.task, self.accelerator.device)
        higher = self.task.score.higher_is_better
        if self.watched.note(self.step, self.score, higher=higher, margin=self.validation.margin):
            self.watched.weights = {
                name: whole(tensor).detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()
            }
        if self.validation.patience is not None and self.watched.waited >= self.validation.patience:
            self.stopped = True

    def told(self) -> Step:
        """Returns what there is to tell of the last step."""
        return Step(
            model=self.model,
            step=self.step,
            total=self.total,
            losses=self.losses,
            unweighted=self.unweighted,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            score=self.score,
            pairing=self.pairing(),
        )

    def pairing(self) -> dict[str, dict[str, float]]:
        """Returns whom each layer of the student has come to learn from, where that is learned."""
        inside = [] if self.parts is None else self.parts.modules()
        return {layer: of for part in inside if isinstance(part, Matched) for layer, of in part.pairing().items()}

    def chosen(self) -> dict[str, Any] | None:
        """Returns the weights that the run ends with; None: they are in its model."""
        if self.watched.weights:
            return self.watched.weights
        if self.mean is not None:
            return dict(self.mean.model.state_dict())
        return whole_state(dict(self.model.state_dict())) if self.accelerator.is_fsdp2 else None

    def _build(self, parts: Callable[[nn.Module, Batch], nn.Module], task: Task) -> nn.Module:
        """Builds what the objective has of its own from the run's first batch."""
        first = feed(task, seed=self.training.seed, position=Position(), entered=self._restore_random)
        batch = next(first).to(self.accelerator.device)
        self.model.eval()
        with self._misfits(batch):
            built = parts(self.model, batch)
        to_training(self.model, noise=self.training.noise)
        return built.to(self.accelerator.device)

    def _share_gradients(self) -> None:
        # What the objective has of its own is small, and asked outside the model's forward pass: averaged by hand.
        if not self.alone:
            for parameter in self.own:
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")

    def _terms(self, batch: Batch) -> Mapping[str, Tensor]:
        with self._misfits(batch):
            terms = self.objective.terms(self.parallel_model, batch, self._moment)
        for name, term in terms.items():
            if term.dim() > 0:
                raise invalid(f"train: loss term {name!r}", list(term.shape), "a scalar", "Average it with .mean().")
        return terms

    @contextmanager
    def _misfits(self, batch: Batch) -> Iterator[None]:
        """Adds to an error which batch it happened on."""
        try:
            yield
        except (LaconicError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
            labels = "none" if batch.labels is None else list(batch.labels.shape)
            number, epoch = max(self.position.batch, 1), self.position.epoch + 1
            raise DataError(
                f"Task.train: the model fails on batch {number} of epoch {epoch} (inputs "
                f"{[list(t.shape) for t in batch.inputs]}, labels {labels}): {type(error).__name__}: "
                f"{' '.join(str(error).split())}"
            ) from error

    def _check_finite(self) -> None:
        for name, loss in self.losses.items():
            if not math.isfinite(loss):
                raise self._broken(f"the loss term {name!r} is {loss}")

    def _broken(self, what: str) -> TrainingError:
        """Returns the error of a step that cannot be made; the weights are those before it."""
        kept = "" if self.saved is None else f" The checkpoint of step {self.saved} stays."
        return TrainingError(
            f"train: {what} at step {self.step + 1} of {self.total}; expected finite numbers. Lower the learning rate, "
            f"clip gradients, or look for NaN in weights and data.{kept}"
        )

    def save(self, path: Path) -> None:
        """Writes a checkpoint; every process takes part, the first one writes."""
        self.saved = self.step
        state = state_of(self)
        if self.accelerator.is_main_process:
            write_checkpoint(path, state)

    def load(self, path: Path) -> None:
        """Goes on where a checkpoint of the same run was written.

        Raises:
            ArtifactError: the file is damaged.
            TrainingError: it is of another run.
        """
        state = read_checkpoint(path)
        check_identity(path, state["identity"], identity_of(self))
        take_up(self, state)
        self.saved = self.step

    def _restore_random(self) -> None:
        randomness.restore(self.random, self.accelerator.device)
