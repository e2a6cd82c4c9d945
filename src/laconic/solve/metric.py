"""How much an error in a weight is felt at the layer's output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import torch
from torch import Tensor

from laconic.core.errors import invalid

PIECE = 512  # Rows of a moment that are put in order at a time: large ones are in memory often enough.


@final
@dataclass(frozen=True, eq=False)
class InputMetric:
    """The error `tr(E H E^T)` of a change `E` of a layer's matrices, and the order in which its inputs are fixed.

    Solvers work on matrices that `arrange` laid out: `[groups, inputs, outputs]`, inputs in order, so that what belongs
    to one input lies together. `H` is scaled such that its mean diagonal is about one.

    Args:
        moment: `H`, float64 `[groups, inputs, inputs]`, positive definite, in order.
        order: which input comes when, int64 `[groups, inputs]`.
    """

    moment: Tensor
    order: Tensor

    @classmethod
    def of(cls, second_moment: Tensor, *, damping: float = 0.01, order: Tensor | None = None) -> Self:
        """Returns the metric of a second moment.

        Args:
            second_moment: float64 `[groups, inputs, inputs]`, finite. It may be singular, as it is with fewer samples
                than inputs or with inputs that are always zero.
            damping: what is added to its diagonal, as a share of the diagonal's mean; positive.
            order: int64 `[groups, inputs]`; None: inputs with the most energy first.
        """
        if not damping > 0:
            raise invalid("InputMetric.damping", damping, "a positive number")
        energy = second_moment.diagonal(dim1=1, dim2=2)
        if order is None:
            order = energy.argsort(dim=1, descending=True, stable=True)
        moment = torch.empty(second_moment.shape, dtype=torch.float64)
        for arranged, each, rank in zip(moment, second_moment, order, strict=True):
            for rows, ranks in zip(arranged.split(PIECE), rank.split(PIECE), strict=True):
                rows.copy_(each.index_select(0, ranks).index_select(1, rank))
        mean = energy.double().mean(1)
        largest = mean.max()
        moment.div_(torch.where(largest > 0, largest, 1.0))
        # A group that nothing reached has no second moment: all its inputs weigh the same.
        shift = damping * torch.where(mean > 0, mean / torch.where(largest > 0, largest, 1.0), 1.0)
        moment.diagonal(dim1=1, dim2=2).add_(shift[:, None])
        return cls(moment, order)

    def arrange(self, matrix: Tensor) -> Tensor:
        """Returns `[groups, outputs, inputs]` as `[groups, inputs, outputs]`, inputs in order."""
        turned = matrix.mT
        return turned.gather(1, self.order[:, :, None].expand_as(turned))

    def restore(self, arranged: Tensor) -> Tensor:
        """Undoes `arrange`."""
        place = self.order.argsort(dim=1)
        return arranged.gather(1, place[:, :, None].expand_as(arranged)).mT

    @property
    def ahead(self) -> Tensor:
        """What an error at one input asks of each later one while those after it are free, strictly upper triangular.

        With `H = R R^T`, `R` upper triangular, the error is `|E R|^2`, and column `j` of `E R` is
        `R_jj (E_j + sum_i<j E_i R_ij / R_jj)`. Float32 `[groups, inputs, inputs]`, `R_ij / R_jj` in row `i`, column
        `j`. This is the update of optimal brain surgery without an inverse.

        Reference:
            Hassibi and Stork 1992; Frantar et al. 2022, arXiv:2210.17323; Chee et al. 2023, arXiv:2307.13304, theorem 6
            (the same update as a linear feedback of errors).
        """
        return self._factor[0]

    @property
    def alone(self) -> Tensor:
        """What a unit error at each input costs once all later ones made up for it, `R_jj^2`: `[groups, inputs]`."""
        return self._factor[1].square()

    @cached_property
    def _factor(self) -> tuple[Tensor, Tensor]:
        factor: Tensor = torch.linalg.cholesky(self.moment.flip(1, 2)).float().flip(1, 2)
        diagonal = factor.diagonal(dim1=1, dim2=2).clone()
        return factor.div_(diagonal[:, None, :]).triu_(1), diagonal

    @cached_property
    def around(self) -> Tensor:
        """What an error at one input asks of each other one while all the rest stay: `H_ij / H_jj`, zero diagonal."""
        feedback = self.single / self.single.diagonal(dim1=1, dim2=2)[:, None, :]
        feedback.diagonal(dim1=1, dim2=2).zero_()
        return feedback

    @cached_property
    def single(self) -> Tensor:
        """`H` as float32."""
        return self.moment.float()

    def error(self, change: Tensor) -> Tensor:
        """Returns `E H E^T` of every output for an arranged `E`, float32 `[groups, outputs]`."""
        return ((self.single @ change) * change).sum(1)
