"""Augmentation that can be had again: each sample in one of a few ways, each with a seed of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from laconic.core.errors import check_whole, invalid
from laconic.core.task import Batch
from laconic.distill.augment import Augmentation, CutMix, Mixup
from laconic.train import randomness
from laconic.train.sample_keys import sample_keys


@final
@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Changes each sample by itself, in one of `variants` ways that are the same in every run.

    The way is drawn; what it does to the sample follows from `seed`, the way's number and the sample. So a cache that
    was written with it, `cached_teacher(..., augment=...)`, has the answer to everything that it makes.

    Args:
        augmentations: one after the other; not those that mix samples with each other.
        variants: ways for each sample, from 1.
        seed: of all that is drawn within a way.

    Example:
        >>> from laconic.distill.augment import MaskTokens
        >>> few = Repeated(augmentations=(MaskTokens(mask=0, probability=0.5),), variants=2)
        >>> batch = Batch(args=(torch.arange(1, 9).view(2, 4),))
        >>> torch.equal(few.variant(batch, 1).args[0], few.variant(batch, 1).args[0])
        True

    Reference:
        Shen, Xing, 2022, arXiv:2112.01528, keep what was drawn beside the teacher's answers.
    """

    augmentations: tuple[Augmentation, ...]
    variants: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        mixing = [a for a in self.augmentations if isinstance(a, Mixup | CutMix)]
        if mixing or not self.augmentations:
            got = mixing[0] if mixing else self.augmentations
            raise invalid("Repeated.augmentations", got, "at least one, each of which changes samples by themselves")
        check_whole("Repeated.variants", self.variants, 1)
        check_whole("Repeated.seed", self.seed, 0)

    def __call__(self, batch: Batch) -> Batch:
        """Returns each sample in a way that is drawn."""
        return self._changed(batch, torch.randint(self.variants, (batch.size,)).tolist())

    def variant(self, batch: Batch, number: int) -> Batch:
        """Returns all samples in the way of one number."""
        return self._changed(batch, [number] * batch.size)

    def _changed(self, batch: Batch, numbers: list[int]) -> Batch:
        device = batch.inputs[0].device
        plain = batch.to("cpu")  # Another device draws other numbers.
        keys = sample_keys(plain.args, plain.kwargs).tolist()
        with randomness.undisturbed(torch.device("cpu")):
            changed = [
                self._one(_sample(plain, i), (self.seed, number, *key))
                for i, (number, key) in enumerate(zip(numbers, keys, strict=True))
            ]
        return _joined(plain, changed).to(device)

    def _one(self, sample: Batch, seed: tuple[int, ...]) -> Batch:
        randomness.seed_all(*seed)
        for augmentation in self.augmentations:
            sample = augmentation(sample)
        return sample


def _per_sample(value: Any, batch: Batch) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == batch.size


def _sample(batch: Batch, index: int) -> Batch:
    def row(value: Any) -> Any:
        return value[index : index + 1] if _per_sample(value, batch) else value

    kwargs = {name: row(value) for name, value in batch.kwargs.items()}
    return Batch(args=tuple(map(row, batch.args)), kwargs=kwargs, labels=row(batch.labels))


def _joined(batch: Batch, samples: list[Batch]) -> Batch:
    """Returns samples as one batch; what all samples of the batch shared is as it was."""

    def column(before: Any, values: list[Any]) -> Any:
        return torch.cat(values) if _per_sample(before, batch) and isinstance(values[0], Tensor) else values[0]

    args = tuple(column(before, [s.args[i] for s in samples]) for i, before in enumerate(batch.args))
    kwargs = {name: column(before, [s.kwargs[name] for s in samples]) for name, before in batch.kwargs.items()}
    return Batch(args=args, kwargs=kwargs, labels=column(batch.labels, [s.labels for s in samples]))
