"""Correlation congruence: samples are to be correlated with each other as they are for the teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import check_whole, invalid
from laconic.distill.feature import FeatureLoss, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class CorrelationCongruence(FeatureLoss):
    """Squared error of correlations: `mean((K(student) - K(teacher))^2)`, `[samples, samples]`.

    `K_ij(F) = sum_(p = 0 ... order) exp(-2 gamma) (2 gamma)^p / p! (f_i . f_j)^p` with f the features of length 1: the
    Gaussian kernel `exp(-gamma |f_i - f_j|^2)`, developed up to an order. Features are flattened; layers of any shape
    can be matched.

    Args:
        gamma: how quickly the kernel falls with the distance, positive.
        order: of the development, a whole number from 1.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        Neither a rotation of the features nor a positive factor on those of a sample changes anything.

    Reference:
        Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang, 2019, arXiv:1904.01802; gamma 0.4 and order 2 as there.

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
        >>> CorrelationCongruence().distance(Pair(student=student, teacher=teacher))
        tensor(0.)
    """

    gamma: float = 0.4
    order: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise invalid("CorrelationCongruence.gamma", self.gamma, "a positive number")
        check_whole("CorrelationCongruence.order", self.order, 1)

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean squared error of the correlations."""
        student, teacher = (self._kernel(x) for x in pair.rows())
        return (student - teacher).square().mean()

    def _kernel(self, rows: Tensor) -> Tensor:
        units = unit(rows)
        scaled = 2 * self.gamma * (units @ units.T)
        term = kernel = torch.ones_like(scaled)
        for p in range(1, self.order + 1):
            term = term * scaled / p
            kernel = kernel + term
        return math.exp(-2 * self.gamma) * kernel
