"""Weights that share numbers, at random: which shares which is not stored but computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from laconic.core.coding import Coding
from laconic.core.errors import check_whole, invalid
from laconic.core.hashing import WORD, shared_places

FLOATS = (torch.float32, torch.float16)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Hashed(Coding):
    """A tensor of few numbers: `weight_i = sign(i) * values[bucket(i)]`, both by a hash of the place (`core.hashing`).

    Args:
        dims: the decoded tensor's shape.
        seed: of the hash, 0 to `2**32 - 1`.
        values: one a bucket, float32 or float16, at least one.

    Guarantees:
        Encoding gives each bucket the mean of its signed weights, which is the nearest tensor of this form.

    Reference:
        Chen et al. 2015, arXiv:1504.04788.

    Example:
        >>> coding = Hashed(dims=(2, 3), seed=0, values=torch.zeros(2))
        >>> str(coding), coding.size_bytes
        ('2 numbers shared by 6 weights', 8)
    """

    kind: ClassVar[str] = "hashed"
    dims: tuple[int, ...]
    seed: int
    values: Tensor

    def __post_init__(self) -> None:
        check_whole("Hashed.seed", self.seed, 0, WORD)
        if self.values.dim() != 1 or not 1 <= len(self.values) < 2**31:
            raise invalid("Hashed.values", list(self.values.shape), "at least one number, in one dimension")
        if self.values.dtype not in FLOATS or not bool(self.values.isfinite().all()):
            raise invalid("Hashed.values", str(self.values.dtype), "finite float32 or float16 numbers")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.dims

    def decode(self) -> Tensor:
        """Returns each place's number with its sign, float32."""
        return self._spread(self._shared())

    def encode(self, weight: Tensor) -> Self:
        """Shares the mean of the signed weights of each bucket; buckets that no place uses hold zero."""
        return self._fitted(weight, self._shared())

    def project(self, weight: Tensor) -> Tensor:
        """Returns `encode(weight).decode()`; keeps the hashes for the next step."""
        return self._fitted(weight, self._kept)._spread(self._kept).to(weight.device)

    def _shared(self) -> tuple[Tensor, Tensor]:
        return shared_places(math.prod(self.shape), len(self.values), self.seed)

    @cached_property
    def _kept(self) -> tuple[Tensor, Tensor]:
        return self._shared()

    def _fitted(self, weight: Tensor, shared: tuple[Tensor, Tensor]) -> Self:
        given, (bucket, sign) = weight.detach().cpu().float(), shared
        if not bool(given.isfinite().all()):
            raise invalid("Hashed.encode", "a weight with NaN or infinity", "finite numbers")
        sums = torch.bincount(bucket, given.flatten().double() * sign, minlength=len(self.values))
        means = sums / torch.bincount(bucket, minlength=len(self.values)).clamp_min(1)
        largest = torch.finfo(self.values.dtype).max
        return replace(self, values=means.clamp(-largest, largest).to(self.values.dtype))

    def _spread(self, shared: tuple[Tensor, Tensor]) -> Tensor:
        bucket, sign = shared
        return (self.values.float().index_select(0, bucket) * sign).view(self.shape)

    def config(self) -> dict[str, Any]:
        """Returns shape and seed."""
        return {"shape": list(self.dims), "seed": self.seed}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the numbers."""
        return {"values": self.values}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(dims=tuple(config["shape"]), seed=config["seed"], values=tensors["values"])

    def __str__(self) -> str:
        return f"{len(self.values):,} numbers shared by {math.prod(self.shape):,} weights"
