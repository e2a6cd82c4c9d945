"""Relational angle (RKD-A): every three samples are to form the angles that they form for the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from laconic.distill.feature import FeatureLoss, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class RelationalAngle(FeatureLoss):
    """Huber loss of cosines of angles between three samples: `mean_(i, j, k) huber(a_ijk(student) - a_ijk(teacher))`.

    `a_ijk(F)` is the cosine of the angle at `F_j` between `F_i` and `F_k`, for three different samples; Huber's loss is
    `x^2 / 2` up to 1, then `|x| - 1/2`. Features are flattened; layers of any shape can be matched. A batch of two has
    no angles: 0. Time and memory grow with the cube of the batch; more features than samples cost no more.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        Neither a rotation, nor a shift, nor a factor on all features changes anything.

    Reference:
        Park, Kim, Lu, Cho, 2019, arXiv:1904.05068, section 3.2.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> RelationalAngle().distance(Pair(student=square, teacher=5 * square + 3)) < 1e-6
        tensor(True)
    """

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean over all triples of samples."""
        student, teacher = (_cosines(x) for x in pair.rows())
        same = torch.eye(len(student), dtype=torch.bool, device=student.device)
        different = ~(same[:, :, None] | same[:, None, :] | same[None, :, :])
        errors = smooth_l1_loss(student, teacher, reduction="none").where(different, 0)
        return errors.sum() / different.sum().clamp(min=1)


def _cosines(rows: Tensor) -> Tensor:
    """Returns `[samples, samples, samples]`: at the first, between the second and the third."""
    few = _in_their_span(rows)
    directions = unit(few[None, :, :] - few[:, None, :])
    return directions @ directions.mT


def _in_their_span(rows: Tensor) -> Tensor:
    """Returns samples in as many dimensions as there are samples at most; all angles and their gradients stay.

    Whatever depends on inner products alone changes to first order only with what lies in the span of the samples, so
    that the basis needs no gradient.
    """
    if rows.shape[1] <= len(rows):
        return rows
    centred = rows - rows.mean(0)
    basis: Tensor = torch.linalg.qr(centred.detach().T).Q
    return centred @ basis
