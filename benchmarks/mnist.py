"""MNIST for the benchmarks that need it: the task, and images that are moved by a few pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

import laconic
import manner
from laconic.core.task import Batch

ALL = tuple(range(10))


def task(batch: int, keep: tuple[int, ...] = ALL, held_back: int = 0) -> laconic.Task:
    """Returns the data, pixels from 0 to 1, with these digits alone in the training images.

    With some training images held back, these take the place of the test images.
    """
    read = manner.shared_data()
    images, labels = (torch.from_numpy(part.copy()) for part in read.mnist("train"))
    chosen = torch.isin(labels.long(), torch.tensor(keep))
    chosen[len(labels) - held_back :] = False
    tested = [part[len(labels) - held_back :] for part in (images, labels)]
    if not held_back:
        tested = [torch.from_numpy(part.copy()) for part in read.mnist("test")]

    def loader(images: Tensor, labels: Tensor, *, shuffle: bool) -> DataLoader[Any]:
        data = TensorDataset(images[:, None].float() / 255, labels.long())
        order = RandomSampler(data) if shuffle else SequentialSampler(data)
        return DataLoader(data, sampler=BatchSampler(order, batch, drop_last=False), batch_size=None)

    known = loader(images[chosen], labels[chosen], shuffle=True)
    return laconic.Task(train=known, evaluate=loader(*tested, shuffle=False))


def moved(pixels: int) -> Callable[[Batch], Batch]:
    """Returns what moves each image by up to so many pixels in both directions; what leaves is gone."""

    def move(batch: Batch) -> Batch:
        (images,) = batch.args
        padded = nn.functional.pad(images, [pixels] * 4)
        moves = torch.randint(2 * pixels + 1, (len(images), 2))
        rows = (moves[:, :1] + torch.arange(28))[:, :, None]
        columns = (moves[:, 1:] + torch.arange(28))[:, None, :]
        samples = torch.arange(len(images))[:, None, None]
        return replace(batch, args=(padded[samples, 0, rows, columns][:, None],))

    return move
