"""Inputs of a layer go one after the other, and those that stay take over what they can."""

from __future__ import annotations

import torch
from torch import Tensor

WAITING = 128
"""So many columns are taken out of the matrices at once: products of matrices are fast, of vectors slow."""


class Elimination:
    """What it costs to lose each index of an axis, given those already lost.

    With `H` the inverse of the inputs' second moment and `M = W^T G W`, losing the columns Q of a weight costs
    `1/2 tr(H_QQ^-1 M_QQ)` after all other columns were changed for the best. Then, with `h = H_:Q H_QQ^-1`,
    `H' = H - h H_QQ h^T` and `M' = M - h a^T - a h^T` where `a = M_:Q - 1/2 h M_QQ`.

    Only the diagonal blocks, which prices need, are kept up to date; the rest follows in blocks of 128 columns. So the
    whole takes about `2 n^3` operations for `n` columns, nearly all in products of matrices.

    Args:
        inverse: `H`, float64 `[columns, columns]`, positive definite; the columns of an index lie together.
        pulled: `M`, likewise, positive semidefinite.
        size: number of indices.
    """

    def __init__(self, inverse: Tensor, pulled: Tensor, size: int) -> None:
        self._k = len(inverse) // size
        self._rows = torch.arange(size)  # Where each index is in the matrices, in blocks.
        self._inverse, self._pulled = inverse, pulled
        self._own = _blocks(inverse, self._k)
        self._pull = _blocks(pulled, self._k)
        self._gone = torch.zeros(size, dtype=torch.bool)
        # What the matrices still lack, one column for each that is gone: h, H_:Q and a.
        self._h = self._weighted = self._a = inverse.new_zeros(len(inverse), 0)

    def prices(self) -> Tensor:
        """Returns what it costs to lose each index now, `[size]`; nothing for those that are gone."""
        if self._k == 1:
            return (0.5 * self._pull / self._own).flatten()
        prices: Tensor = 0.5 * torch.linalg.solve(self._own, self._pull).diagonal(dim1=1, dim2=2).sum(1)
        return prices

    def remove(self, index: int) -> None:
        """Lets the remaining columns take over those of an index."""
        first = int(self._rows[index]) * self._k
        block = slice(first, first + self._k)
        column = self._inverse[:, block] - self._weighted @ self._h[block].mT
        pull = self._pulled[:, block] - self._h @ self._a[block].mT - self._a @ self._h[block].mT
        h = torch.linalg.solve(self._own[index], column.mT).mT
        a = pull - 0.5 * h @ self._pull[index]
        self._update_blocks(index, h, a)
        self._h = torch.cat([self._h, h], 1)
        self._weighted = torch.cat([self._weighted, column], 1)
        self._a = torch.cat([self._a, a], 1)
        if self._h.shape[1] >= WAITING:
            self._catch_up()

    def _update_blocks(self, index: int, h: Tensor, a: Tensor) -> None:
        self._gone[index] = True
        left = (~self._gone).nonzero().flatten()
        rows = self._rows[left]
        h, a = (x.reshape(-1, self._k, self._k)[rows] for x in (h, a))
        self._own[left] -= h @ self._own[index] @ h.mT
        across = h @ a.mT
        self._pull[left] -= across + across.mT
        self._own[index], self._pull[index] = torch.eye(self._k, dtype=h.dtype), 0.0

    def _catch_up(self) -> None:
        """Brings the matrices up to date, without what is gone."""
        left = (~self._gone).nonzero().flatten()
        rows = (self._rows[left, None] * self._k + torch.arange(self._k)).flatten()
        h, weighted, a = self._h[rows], self._weighted[rows], self._a[rows]
        self._inverse = torch.addmm(self._inverse[rows][:, rows], weighted, h.mT, alpha=-1)
        across = h @ a.mT
        self._pulled = self._pulled[rows][:, rows] - across - across.mT
        self._rows = torch.full_like(self._rows, -1).index_copy(0, left, torch.arange(len(left)))
        self._h = self._weighted = self._a = self._inverse.new_zeros(len(rows), 0)


class Uncoupled:
    """The same where nothing is known of how inputs go together: nothing is taken over.

    Args:
        prices: of each index, `[size]`.
    """

    def __init__(self, prices: Tensor) -> None:
        self._prices = prices

    def prices(self) -> Tensor:
        """Returns what it costs to lose each index, `[size]`."""
        return self._prices

    def remove(self, index: int) -> None:
        """Changes nothing."""


def _blocks(matrix: Tensor, k: int) -> Tensor:
    """Returns a copy of the blocks on the diagonal, `[size, k, k]`."""
    size = len(matrix) // k
    return matrix.reshape(size, k, size, k).diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()
