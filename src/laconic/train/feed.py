"""The training batches, in an order that can be repeated and entered in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from laconic.core.errors import DataError, TrainingError
from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Batch, Task
from laconic.train import randomness


@dataclass
class Position:
    """Where a run is in its data: `batch` batches of epoch `epoch` have been given."""

    epoch: int = 0
    batch: int = 0


def feed(task: Task, *, seed: int, position: Position, entered: Callable[[], None]) -> Iterator[Batch]:
    """Yields the training batches, epoch after epoch without end, and keeps `position` up to date.

    At the start of an epoch everything random is seeded from `(seed, epoch)`, the loader's own generators too. A run
    that starts within an epoch therefore reads the batches again that it has had, in the same order, drops them, and
    calls `entered` (which restores the random state) before it goes on. What a loader draws besides - augmentation in
    its workers, say - repeats as well, unless the workers outlive the epoch (`persistent_workers=True`).

    Raises:
        DataError: the loader is empty.
        TrainingError: the loader no longer has as many batches as the position says.
    """
    loader = task.loader("train")
    skipped = position.batch
    while True:
        _seed(loader, seed, position.epoch)
        given = 0
        for given, raw in enumerate(loader, start=1):
            if given > skipped:
                position.batch = given
                yield task.split(raw)
            elif given == skipped:
                entered()
        _check_count(given, skipped)
        position.epoch, position.batch, skipped = position.epoch + 1, 0, 0


def _seed(loader: Iterable[Any], seed: int, epoch: int) -> None:
    mixed = randomness.seed_all(seed, epoch)
    batch_sampler = getattr(loader, "batch_sampler", None)
    for owner in (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(mixed)
        if callable(set_epoch := getattr(owner, "set_epoch", None)):
            set_epoch(epoch)


def _check_count(given: int, skipped: int) -> None:
    if given == 0:
        raise DataError("Task.train: the loader yields no batches; expected at least one. Check its data set.")
    if given < skipped:
        raise TrainingError(
            f"train: the checkpoint was written after batch {skipped} of an epoch, but the loader has only {given}; "
            "expected the same data. Pass the loader of that run, or resume=False."
        )


def share(batch: Batch, rank: int, processes: int) -> tuple[Batch, float]:
    """Returns one process's share of a batch, and the weight of its loss.

    The weight makes the mean over processes of the weighted losses the loss of the whole batch, for losses that are
    means over samples, or over labels that are not -100. A process for which no sample is left takes one with weight 0.
    """
    if processes == 1:
        return batch, 1.0
    start, stop = (batch.size * r // processes for r in (rank, rank + 1))
    mine = _cut(batch, start, stop) if stop > start else _cut(batch, 0, 1)
    return mine, (stop > start) * processes * counted(mine) / max(counted(batch), 1)


def parts_of(batches: Sequence[Batch]) -> list[float]:
    """Returns the weight of each batch's loss that makes their sum the loss of all of them as one batch."""
    counts = [counted(batch) for batch in batches]
    return [count / max(sum(counts), 1) for count in counts] if len(batches) > 1 else [1.0]


def _cut(batch: Batch, start: int, stop: int) -> Batch:
    def cut(value: Any) -> Any:
        return value[start:stop] if isinstance(value, Tensor) else value

    kwargs = {name: cut(value) for name, value in batch.kwargs.items()}
    return Batch(args=tuple(map(cut, batch.args)), kwargs=kwargs, labels=cut(batch.labels))


def counted(batch: Batch) -> int:
    """Returns how many samples, or labels that are not -100, a loss on a batch is a mean over."""
    if batch.labels is None or batch.labels.is_floating_point():
        return batch.size
    return int((batch.labels != IGNORED_LABEL).sum())
