"""Where zeros may lie: anywhere, in blocks, or so many of every few."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.errors import invalid
from laconic.core.positions import LARGEST_GROUP

Shape = tuple[int, int, int]
FORMS = "'unstructured', 'rows', 'columns', 'N:M' such as '2:4', or (rows, columns) of a block"


class Pattern(ABC):
    """Decides what stays, by scores of a layer's matrices `[groups, rows, columns]`. Configs are frozen and final.

    Rows are output channels. Columns are inputs; a convolution's are sorted by kernel position, input channels
    together, as kernels of runtimes read them.
    """

    @abstractmethod
    def width(self, columns: int) -> int:
        """Columns in a row that belong together."""

    @abstractmethod
    def units(self, shape: Shape) -> int:
        """How many things in matrices of a shape stay or go, each as a whole."""

    @abstractmethod
    def removed(self, shape: Shape, sparsity: float) -> int:
        """How many of them go."""

    @abstractmethod
    def keep(self, scores: Tensor, removed: int, *, by_row: bool = False) -> Tensor:
        """Returns what stays when the `removed` least units go, bool `[groups, rows, columns]`.

        Args:
            scores: not negative; what a weight's removal costs. They add up.
            removed: how many units go; patterns that fix this themselves do not ask.
            by_row: as many from each row as from any other, or one more, instead of the least in all matrices.
        """

    @abstractmethod
    def storage(self, shape: Shape) -> dict[str, Any]:
        """Returns what `Sparse.of` needs to store the pattern in few bytes."""


@final
@dataclass(frozen=True, kw_only=True)
class BlockPattern(Pattern):
    """Blocks of rows by columns, each kept or zero as a whole; 1 x 1: any weight by itself.

    Blocks at an edge that they do not divide are cut off there. They never reach into another group of a convolution.

    Args:
        rows: of a block; None: all.
        columns: of a block; None: all.

    Example:
        >>> BlockPattern(columns=2).keep(torch.tensor([[[1.0, 1.0, 5.0, 0.0, 1.5]]]), 1).int().tolist()
        [[[0, 0, 1, 1, 1]]]
    """

    rows: int | None = 1
    columns: int | None = 1

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if size is not None and size < 1:
                raise invalid(f"prune.weights.BlockPattern.{name}", size, "a positive number, or None for all")

    def width(self, columns: int) -> int:
        """Columns of a block."""
        return columns if self.columns is None else min(self.columns, columns)

    def block(self, shape: Shape) -> tuple[int, int]:
        """Rows and columns of a block in matrices of a shape."""
        return max(1, self.rows or shape[1]), max(1, self.columns or shape[2])

    def units(self, shape: Shape) -> int:
        """Blocks."""
        rows, columns = self.block(shape)
        return shape[0] * math.ceil(shape[1] / rows) * math.ceil(shape[2] / columns)

    def removed(self, shape: Shape, sparsity: float) -> int:
        """Returns the nearest whole number of blocks."""
        return round(sparsity * self.units(shape))

    def keep(self, scores: Tensor, removed: int, *, by_row: bool = False) -> Tensor:
        """Removes the blocks whose mean score is least."""
        shape = (scores.shape[0], scores.shape[1], scores.shape[2])
        means = self.means(scores)
        gone = _least_of_rows(means.flatten(0, 1), removed) if by_row else _least(means.reshape(1, -1), removed)
        kept = ~gone.reshape(means.shape)
        high, wide = self.block(shape)
        return kept.repeat_interleave(high, 1).repeat_interleave(wide, 2)[:, : shape[1], : shape[2]]

    def means(self, scores: Tensor) -> Tensor:
        """Returns the mean score of every block."""
        groups, rows, columns = scores.shape
        high, wide = self.block((groups, rows, columns))
        if (high, wide) == (1, 1):
            return scores
        return _sums(scores, high, wide) / _sums(torch.ones_like(scores), high, wide)

    def storage(self, shape: Shape) -> dict[str, Any]:
        """Blocks as such."""
        return {"block": self.block(shape)}

    def __str__(self) -> str:
        if self == BlockPattern():
            return "unstructured"
        return f"{self.rows or 'all'} x {self.columns or 'all'}"


@final
@dataclass(frozen=True, kw_only=True)
class NOfM(Pattern):
    """At most `n` of every `m` columns in a row are not zero; 2 of 4 is what sparse tensor cores take.

    Columns that `m` does not divide are padded with zeros, so a last, shorter group may keep all it has.

    Args:
        n: kept, 1 to `m`.
        m: at most 32.

    Reference:
        Mishra et al. 2021, arXiv:2104.08378.

    Example:
        >>> NOfM(n=1, m=2).keep(torch.tensor([[[3.0, 2.0, 1.0, 4.0]]]), 0).int().tolist()
        [[[1, 0, 0, 1]]]
    """

    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m <= LARGEST_GROUP:
            domain = f"N:M with 1 <= N <= M <= {LARGEST_GROUP}"
            raise invalid("prune.weights.NOfM", f"{self.n}:{self.m}", domain, "N of every M weights stay.")

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return 1 - self.n / self.m

    def width(self, columns: int) -> int:
        """Columns of a group."""
        return self.m

    def units(self, shape: Shape) -> int:
        """Groups of columns."""
        return shape[0] * shape[1] * math.ceil(shape[2] / self.m)

    def removed(self, shape: Shape, sparsity: float) -> int:
        """None as a whole."""
        return 0

    def keep(self, scores: Tensor, removed: int, *, by_row: bool = False) -> Tensor:
        """Keeps the largest of each group."""
        padded = functional.pad(scores, (0, -scores.shape[2] % self.m), value=-1.0)
        groups = padded.reshape(*scores.shape[:2], -1, self.m)
        largest = groups.argsort(dim=3, descending=True, stable=True)[..., : self.n]
        kept = torch.zeros_like(groups, dtype=torch.bool).scatter_(3, largest, True)
        return kept.reshape(padded.shape)[:, :, : scores.shape[2]]

    def storage(self, shape: Shape) -> dict[str, Any]:
        """Numbers of combinations."""
        return {"n_of_m": (self.n, self.m)}

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


ALL: tuple[type[Pattern], ...] = (BlockPattern, NOfM)


def pattern_of(form: str | tuple[int, int] | Pattern) -> Pattern:
    """Reads a pattern.

    Raises:
        UsageError: it is none.

    Example:
        >>> pattern_of("2:4"), pattern_of((4, 1))
        (NOfM(n=2, m=4), BlockPattern(rows=4, columns=1))
    """
    if isinstance(form, Pattern):
        return form
    if isinstance(form, tuple) and len(form) == 2 and all(isinstance(size, int) for size in form):
        return BlockPattern(rows=form[0], columns=form[1])
    named = {
        "unstructured": BlockPattern(),
        "rows": BlockPattern(columns=None),
        "columns": BlockPattern(rows=None),
    }
    if form in named:
        return named[form]
    if isinstance(form, str) and (found := re.fullmatch(r"(\d+):(\d+)", form)):
        return NOfM(n=int(found[1]), m=int(found[2]))
    if isinstance(form, str) and (found := re.fullmatch(r"(\d+)x(\d+)", form)):
        return BlockPattern(rows=int(found[1]), columns=int(found[2]))
    raise invalid("prune.weights.pattern", form, FORMS)


def _sums(scores: Tensor, high: int, wide: int) -> Tensor:
    groups, rows, columns = scores.shape
    padded = functional.pad(scores, (0, -columns % wide, 0, -rows % high))
    blocks = padded.reshape(groups, -(-rows // high), high, -(-columns // wide), wide)
    return blocks.sum((2, 4))


def _least_of_rows(rows: Tensor, count: int) -> Tensor:
    """Returns where the `count` least are, evenly many of each row; what is left over goes from where it is least."""
    if not rows.numel():
        return torch.zeros_like(rows, dtype=torch.bool)
    every, more = divmod(count, len(rows))
    gone = _least(rows, every)
    if more:
        least, place = rows.masked_fill(gone, torch.inf).min(1)
        some = least.argsort(stable=True)[:more]
        gone[some, place[some]] = True
    return gone


def _least(rows: Tensor, count: int) -> Tensor:
    """Returns where the `count` least of each row are, of equal ones the first: bool, like `rows`."""
    if count <= 0:
        return torch.zeros_like(rows, dtype=torch.bool)
    if count >= rows.shape[1]:
        return torch.ones_like(rows, dtype=torch.bool)
    place = count - 1
    last = torch.from_numpy(np.partition(rows.numpy(force=True), place, axis=1)[:, place : place + 1]).to(rows.device)
    below, level = rows < last, rows == last
    room = count - below.sum(1, keepdim=True)
    return below | (level & (level.cumsum(1) <= room))
