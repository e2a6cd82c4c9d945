"""Training data of which a part is kept to validate on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from laconic.core.errors import UsageError, invalid
from laconic.core.task import Task


def held_back(task: Task, share: float = 0.1, *, seed: int = 0) -> tuple[Task, Iterable[Any]]:
    """Returns a task with less training data, and batches of the rest for `Validation`.

    Args:
        task: `task.train` is a `DataLoader` over a data set with a length, or a list of batches.
        share: of the samples (of a list: of its batches, the last ones), in (0, 1).
        seed: which samples.

    Raises:
        UsageError: the share leaves nothing on one side, or the loader cannot be split.

    Example:
        >>> task = Task(train=[torch.ones(4, 2)] * 10, evaluate=[torch.ones(4, 2)])
        >>> less, rest = held_back(task, 0.2)
        >>> len(less.train), len(rest)
        (8, 2)
    """
    if not 0 < share < 1:
        raise invalid("held_back.share", share, "a share in (0, 1)", "For 10 % write 0.1.")
    loader = task.loader("train")
    if isinstance(loader, DataLoader):
        less, rest = _split_loader(loader, share, seed)
        return replace(task, train=less), rest
    if not isinstance(loader, Sequence):
        raise UsageError(
            f"held_back: got Task.train of type {type(loader).__name__}; expected a DataLoader or a list of batches. "
            "Split the data yourself and pass one part to Validation(batches=...)."
        )
    kept = _kept(len(loader), share)
    return replace(task, train=loader[:kept]), loader[kept:]


def _split_loader(loader: DataLoader[Any], share: float, seed: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    usual = type(loader.sampler) in (RandomSampler, SequentialSampler) and loader.batch_size is not None
    if not usual or not hasattr(loader.dataset, "__len__"):
        raise UsageError(
            "held_back: got a DataLoader with a sampler of its own; expected shuffle=True or False, and a data set "
            "with a length. Split the data set yourself, as with torch.utils.data.random_split."
        )
    order = torch.randperm(len(loader.dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    kept = _kept(len(order), share)
    shuffled = isinstance(loader.sampler, RandomSampler)
    generator = loader.sampler.generator if isinstance(loader.sampler, RandomSampler) else None

    def part(indices: list[int], *, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(
            Subset(loader.dataset, sorted(indices)),
            batch_size=loader.batch_size,
            shuffle=shuffle,
            generator=generator if shuffle else None,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            drop_last=loader.drop_last and shuffle,
            worker_init_fn=loader.worker_init_fn,
        )

    return part(order[:kept], shuffle=shuffled), part(order[kept:], shuffle=False)


def _kept(count: int, share: float) -> int:
    kept = count - math.ceil(count * share)
    if kept < 1:
        raise invalid("held_back.share", share, f"a share that leaves some of {count} to train on")
    return kept
