"""Second moments, in float64, of vectors that never lie in memory all at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# Elements of one chunk of vectors: 32 MB in float64.
CHUNK = 2**22
# Up to this size products run in float64: they cost 2.5 times as much as in float32 and keep eigenvalues down to 1e-16
# of the largest. Beyond it, products of a chunk run in float32 (down to 1e-7) and only their sum in float64.
EXACT = 1024
# From this size on a product is taken in so many parts, nearly half of which are mirrored.
WIDE, PARTS = 512, 8
# Beyond this size only the diagonal is kept: the full moment would take more than 1.2 GB.
FULL = 12288


def second_moment(chunks: Iterable[Tensor]) -> tuple[Tensor, int]:
    """Sums `x x^T` over vectors.

    Args:
        chunks: pieces `[groups, vectors, size]` of any floating type.

    Returns:
        The sum, float64 `[groups, size, size]`, or its diagonal `[groups, size]` for a size above 12,288; and the
        number of vectors in each group.
    """
    total: Tensor | None = None
    count = 0
    for chunk in chunks:
        groups, vectors, size = chunk.shape
        count += vectors
        for rows in torch.split(chunk, max(1, room(groups, size) // (groups * size)), dim=1):
            product = _product(on_double_device(rows))
            total = product.double() if total is None else total.add_(product)
    assert total is not None, "there is always one chunk, if an empty one"
    return total, count


def _product(rows: Tensor) -> Tensor:
    size = rows.shape[2]
    if size > FULL:
        return rows.double().square().sum(1)
    rows = rows.double() if size <= EXACT else rows.float()
    return gram(rows)


def gram(rows: Tensor) -> Tensor:
    """Returns `rows^T rows` in their own precision; of many columns from what is on and above its diagonal.

    Args:
        rows: `[groups, vectors, size]`.
    """
    groups, _, size = rows.shape
    if size < WIDE:
        return rows.mT @ rows
    step = -(-size // PARTS)
    found = rows.new_empty(groups, size, size)
    for start in range(0, size, step):
        part = slice(start, start + step)
        found[:, part, start:] = rows[:, :, part].mT @ rows[:, :, start:]
        found[:, start + step :, part] = found[:, part, start + step :].mT
    return found


def room(groups: int, size: int) -> int:
    """Returns how many elements a chunk may have: as many as a large moment, or adding it up would take the time."""
    return max(CHUNK, groups * size * size if size <= FULL else 0)


def on_double_device(tensor: Tensor) -> Tensor:
    """Returns the tensor where float64 exists: Apple's GPUs lack it."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def bags(rows: Tensor, offsets: Tensor, share: Tensor, count: int, *, mean: bool) -> tuple[Tensor, int]:
    """Returns the diagonal of the second moment of sums or means of one-hot vectors, and how many there are.

    Args:
        rows: which row each vector stands for, `[vectors]`.
        offsets: where each bag begins, `[bags]`.
        share: what each vector counts for in its bag, `[vectors]`; zero: it is not there.
        count: of rows.
        mean: divide each bag by how many vectors are there.

    Returns:
        Float64 `[1, count]`, and the number of bags.
    """
    share = on_double_device(share).double()
    rows, offsets = rows.to(share.device), offsets.to(share.device)
    bag = torch.searchsorted(offsets, torch.arange(len(rows), device=share.device), right=True) - 1
    if mean:
        present = torch.zeros(len(offsets), device=share.device, dtype=torch.float64).index_add_(0, bag, share)
        share = share / present[bag].clamp_min(1)
    cells, cell = torch.unique(bag * count + rows, return_inverse=True)
    sums = torch.zeros(len(cells), device=share.device, dtype=torch.float64).index_add_(0, cell, share)
    total = torch.zeros(count, device=share.device, dtype=torch.float64).index_add_(0, cells % count, sums.square())
    return total[None], len(offsets)


def lookups(rows: Tensor, count: int) -> tuple[Tensor, int]:
    """Returns the second moment of one-hot vectors: its diagonal, float64 `[1, count]`, and their number."""
    counts = torch.bincount(rows.flatten(), minlength=count)
    return on_double_device(counts).double()[None], rows.numel()
