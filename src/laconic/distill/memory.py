"""What was seen of each sample, found again by what the sample is known by."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from laconic.core.errors import invalid

EMPTY = torch.iinfo(torch.int64).max
"""Stands in the table of keys where there is no sample yet."""


@final
class Memory(nn.Module):
    """One vector of length 1 a sample and side, in a table of fixed size that is saved with a run.

    Args:
        samples: how many are held; beyond that the oldest go.
        dimension: of a vector.
        sides: how many vectors each sample has, such as the student's and the teacher's.

    Example:
        >>> memory = Memory(3, 2, sides=1)
        >>> memory.slots(torch.tensor([9, 5]), torch.eye(2)[None])
        tensor([1, 0])
        >>> memory.slots(torch.tensor([5]), torch.ones(1, 1, 2)), memory.held
        (tensor([0]), 2)
    """

    entries: Tensor
    keys: Tensor
    ordered: Tensor
    places: Tensor
    met: Tensor

    def __init__(self, samples: int, dimension: int, *, sides: int) -> None:
        super().__init__()
        self.register_buffer("entries", torch.zeros(sides, samples, dimension))
        self.register_buffer("keys", torch.full((samples,), EMPTY))
        self.register_buffer("ordered", self.keys.clone())
        self.register_buffer("places", torch.arange(samples))
        self.register_buffer("met", torch.zeros((), dtype=torch.long))

    @property
    def held(self) -> int:
        """How many samples it holds."""
        return min(int(self.met), len(self.keys))

    @torch.no_grad()
    def slots(self, samples: Tensor, now: Tensor) -> Tensor:
        """Returns the slot of each sample, `[samples]`; those that are new enter as they are now.

        Args:
            samples: what they are known by, int64.
            now: their vectors, `[sides, samples, dimension]`.

        Raises:
            UsageError: a batch has more samples than the memory holds.
        """
        found, new = self._find(samples)
        while new.any():  # Again if one that was there had to make room.
            keys, first = _firsts(samples[new])
            if len(keys) > len(self.keys):
                raise invalid("Memory.samples", len(self.keys), f"at least a batch, which has {len(keys)}")
            slots = (int(self.met) + torch.arange(len(keys), device=keys.device)) % len(self.keys)
            self.keys[slots] = keys
            self.entries[:, slots] = now[:, new][:, first].to(self.entries.dtype)
            self.met += len(keys)
            ordered, places = self.keys.sort()
            self.ordered.copy_(ordered)
            self.places.copy_(places)
            found, new = self._find(samples)
        return found

    def drawn(self, count: int) -> Tensor:
        """Returns slots that hold a sample, drawn with replacement, `[at most count]`."""
        return torch.randint(max(self.held, 1), (count,), device=self.keys.device)

    @torch.no_grad()
    def move(self, slots: Tensor, now: Tensor, momentum: float) -> None:
        """Moves entries towards how the samples are now; the rest, `momentum`, stays."""
        moved = momentum * self.entries[:, slots] + (1 - momentum) * now.to(self.entries.dtype)
        self.entries[:, slots] = normalize(moved, dim=-1)

    def _find(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the slots, and which samples are not there."""
        index = torch.searchsorted(self.ordered, samples).clamp(max=len(self.keys) - 1)
        return self.places[index], self.ordered[index] != samples


def _firsts(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the different keys, and where each is first."""
    found, inverse = torch.unique(keys, return_inverse=True)
    positions = torch.arange(len(keys), device=keys.device)
    first = torch.full_like(found, len(keys)).scatter_reduce(0, inverse, positions, "amin")
    return found, first
