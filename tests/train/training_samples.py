import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Task
from laconic.distill import Match, SameFeatures, SoftLabels
from laconic.train import (
    SGD,
    AdamW,
    Progress,
    Step,
    Trained,
    Training,
    Validation,
    distillation,
    supervised,
    train,
)

HINT = Match(teacher="1", student="0", loss=SameFeatures(), weight=2.0, projection="linear")


def data(batches: int = 4, size: int = 8, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batches, size, 6, generator=generator)
    return [(rows, rows[:, :3].argmax(-1)) for rows in x]


def task_of(train_data: Any, **options: Any) -> Task:
    return Task(train=train_data, evaluate=data(), **options)


def network(seed: int = 0, dropout: float = 0.2) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 3))


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def shuffled(seed: int | None = None, dataset: Any = None) -> DataLoader[Any]:
    x = torch.randn(22, 6, generator=torch.Generator().manual_seed(3))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    dataset = dataset or TensorDataset(x, x[:, :3].argmax(-1))
    return DataLoader(dataset, batch_size=4, shuffle=True, generator=generator)


class Augmented(Dataset[Any]):
    """Draws from all three global generators."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = random.gauss(0, 1) + float(np.random.randn())
        return torch.randn(6) + noise + index, index % 3


def long_run(work: str | None = None, progress: Progress | None = None) -> Trained:
    """Many steps with a checkpoint after each; one thread, so that every process computes the same."""
    with one_thread():
        task = task_of(shuffled())
        training = Training(steps=150, checkpoint_every=1)
        return train(network(), task, training, objective=supervised(task), work=work, progress=progress)


def uneven_run(work: str | None = None, progress: Progress | None = None) -> Trained:
    """A distillation whose batches do not divide evenly among processes."""
    batches = data(3, size=9)  # Nine samples do not halve.
    batches[1][1][:3] = IGNORED_LABEL  # Nor do the labels that count.
    x, y = batches[0]
    task = task_of([*batches, (x[:1], y[:1])])  # And one sample leaves a process without any.
    objective = distillation(plain_network(1), task, SoftLabels(hard_weight=0.5))
    training = Training(steps=10, checkpoint_every=3, optimizer=SGD(learning_rate=0.2), clip_norm=0.5)
    with one_thread():
        return train(plain_network(2), task, training, objective=objective, work=work, progress=progress)


def matched_run() -> Trained:
    """A distillation with a projection, whose batches do not divide evenly among processes."""
    task = task_of([*data(3, size=9), *data(1, size=1)])
    objective = distillation(plain_network(1), task, SoftLabels(), [HINT])
    with one_thread():
        return train(plain_network(2), task, Training(steps=6, optimizer=SGD(learning_rate=0.1)), objective=objective)


def whole_run(work: str | None = None, *, crash_after: int = 0) -> Trained:
    """A distillation with everything that has a state: moments, projection, running mean, validation, accumulation."""

    def crash(step: Step) -> None:
        if step.step == crash_after:
            raise StoppedError

    task = task_of([*data(4, size=9), *data(1, size=1)])
    objective = distillation(plain_network(1), task, SoftLabels(hard_weight=0.5), [HINT])
    training = Training(steps=8, accumulate=2, average=0.6, checkpoint_every=2, optimizer=AdamW(learning_rate=0.05))
    held = Validation(batches=data(2, seed=5), every=3)
    model, options = plain_network(2), {"work": work, "callbacks": [crash]}
    with one_thread():
        return train(model, task, training, objective=objective, validation=held, **options)


def poisoned_run() -> Trained:
    """Training on data whose last sample of the second batch is not a number."""
    batches = data(4)
    batches[1][0][-1] = torch.nan
    task = task_of(batches)
    return train(plain_network(2), task, Training(epochs=1), objective=supervised(task))


class StoppedError(Exception):
    """Stands for a crash."""


def plain_network(seed: int) -> nn.Sequential:
    """Without batch norm, which would see a process's share only."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
