"""A weight seen as matrices, so that patterns of zeros have rows and columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

from torch import Tensor

from laconic.core.errors import invalid


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a tensor is laid out as `[groups, rows, columns]`: split into more dimensions, permuted, and joined again.

    Args:
        shape: the tensor's.
        split: the shape in which its dimensions are permuted; as many elements.
        order: the permutation of `split`.
        matrix: `(groups, rows, columns)`; as many elements.

    Guarantees:
        `restore(view(tensor))` is `tensor`.

    Example:
        >>> import torch
        >>> kernels = Layout(shape=(8, 4, 3, 3), split=(8, 4, 3, 3), order=(0, 2, 3, 1), matrix=(1, 8, 36))
        >>> kernels.view(torch.zeros(8, 4, 3, 3)).shape
        torch.Size([1, 8, 36])
    """

    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]
    matrix: tuple[int, int, int]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.split))):
            raise invalid("Layout.order", list(self.order), f"a permutation of {len(self.split)} dimensions")
        sizes = {math.prod(shape) for shape in (self.shape, self.split, self.matrix)}
        if len(sizes) > 1 or min(*self.split, *self.matrix, 0) < 0:
            raise invalid("Layout.split", list(self.split), f"as many elements as {list(self.shape)} has")

    @classmethod
    def rows(cls, shape: tuple[int, ...]) -> Self:
        """Returns the plain layout: the first dimension counts rows, all others together columns."""
        count = shape[0] if len(shape) > 1 else 1
        columns = math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
        return cls(shape=shape, split=shape, order=tuple(range(len(shape))), matrix=(1, count, columns))

    def view(self, tensor: Tensor) -> Tensor:
        """Returns a tensor of `shape` as `[groups, rows, columns]`."""
        return tensor.reshape(self.split).permute(self.order).reshape(self.matrix)

    def restore(self, matrix: Tensor) -> Tensor:
        """Undoes `view`."""
        permuted = matrix.reshape([self.split[dim] for dim in self.order])
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return permuted.permute(back).reshape(self.shape)

    def config(self) -> dict[str, Any]:
        """Returns all fields as JSON values."""
        return {name: list(value) for name, value in vars(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Undoes `config`."""
        groups, rows, columns = config["matrix"]
        shape, split, order = (tuple(config[name]) for name in ("shape", "split", "order"))
        return cls(shape=shape, split=split, order=order, matrix=(groups, rows, columns))
