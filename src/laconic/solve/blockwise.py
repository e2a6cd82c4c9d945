"""The feedback of errors between vectors of inputs that are projected together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.solve.metric import InputMetric


class Feedback(NamedTuple):
    """What errors at other inputs ask of a vector, and how an error of the vector itself is felt.

    Args:
        passed: `[groups, inputs, inputs]`: the row is where an error is, the column what it asks for.
        pull: `[groups, vectors, width, width]`: an error `e` of a vector costs `|e pull|^2`.
    """

    passed: Tensor
    pull: Tensor


def in_vectors(second_moment: Tensor, width: int) -> Tensor:
    """Returns an order of inputs that keeps vectors together, those with the most energy first: `[groups, inputs]`.

    Raises:
        UsageError: the width does not divide the number of inputs.
    """
    groups, inputs = second_moment.shape[:2]
    if width < 1 or inputs % width:
        raise invalid("in_vectors.width", width, f"a number that divides {inputs} inputs")
    energy = second_moment.diagonal(dim1=1, dim2=2).reshape(groups, -1, width).sum(2)
    order = energy.argsort(dim=1, descending=True, stable=True)
    return (order[:, :, None] * width + torch.arange(width)).reshape(groups, inputs)


def ahead_by(metric: InputMetric, width: int) -> Feedback:
    """Returns the feedback to later vectors while all after them are free: `InputMetric.ahead` by vectors.

    With `H = R R^T`, `R` upper triangular, the columns of `E R` that belong to vector `J` are
    `(E_J + sum_I<J E_I R_IJ R_JJ^-1) R_JJ`.
    """
    if width == 1:
        return Feedback(metric.ahead, metric.alone.sqrt()[:, :, None, None])
    unit = metric.ahead + torch.eye(metric.ahead.shape[1])
    blocks = diagonal_blocks(unit, width)
    columns = torch.linalg.solve_triangular(blocks, _by_columns(unit, width), upper=True, left=False)
    passed = _whole(columns)
    lengths = metric.alone.sqrt().reshape(len(passed), -1, 1, width)
    return Feedback(_without_blocks(passed, width), blocks * lengths)


def around_by(metric: InputMetric, width: int) -> Feedback:
    """Returns the feedback to each vector while all others stay: `H_IJ H_JJ^-1`, `InputMetric.around` by vectors."""
    if width == 1:
        return Feedback(metric.around, metric.single.diagonal(dim1=1, dim2=2).sqrt()[:, :, None, None])
    factor = torch.linalg.cholesky(diagonal_blocks(metric.moment, width)).float()
    columns = torch.cholesky_solve(_by_columns(metric.single, width).mT, factor).mT
    return Feedback(_without_blocks(_whole(columns), width), factor)


def diagonal_blocks(matrix: Tensor, width: int) -> Tensor:
    """Returns the blocks on the diagonal of `[groups, n, n]`, `[groups, n / width, width, width]`."""
    groups, size, _ = matrix.shape
    cut = matrix.reshape(groups, size // width, width, size // width, width)
    return cut.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).contiguous()


def _by_columns(matrix: Tensor, width: int) -> Tensor:
    """`[groups, n, n]` to `[groups, n / width, n, width]`."""
    groups, size, _ = matrix.shape
    return matrix.reshape(groups, size, size // width, width).transpose(1, 2)


def _whole(columns: Tensor) -> Tensor:
    groups, count, size, width = columns.shape
    return columns.transpose(1, 2).reshape(groups, size, count * width)


def _without_blocks(matrix: Tensor, width: int) -> Tensor:
    """Returns the matrix with zero diagonal blocks, in place where it can be."""
    groups, size, _ = matrix.shape
    cut = matrix.view(groups, size // width, width, size // width, width)
    cut.diagonal(dim1=1, dim2=3).zero_()
    return matrix
