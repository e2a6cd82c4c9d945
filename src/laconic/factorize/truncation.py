"""A layer's matrices kept in fewer directions of their outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import torch
from torch import Tensor, nn

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.spec import Convolutions, LowRank, Spec, Stage
from laconic.factorize.decomposition import Decomposition, Level, Module, checked, padding_of


@final
@dataclass(frozen=True, eq=False)
class Truncation(Decomposition):
    """`W' = U_r (U_r^T W)`: the first `r` of some orthonormal directions `U`, in every group.

    A linear layer becomes two; a convolution one with its kernel and `r` outputs for each group, and a pointwise one.

    Args:
        module: the layer.
        matrix: `W`, float64 `[groups, outputs, inputs]`.
        directions: `U`, float64 `[groups, outputs, min(outputs, inputs)]`, orthonormal columns, those that matter most
            first.
        errors: `Level.error` of `r` directions, for `r` from 0: float64 `[directions + 1]`.
    """

    module: Module
    matrix: Tensor
    directions: Tensor
    errors: Tensor

    @classmethod
    def of(cls, module: Module, layer: Layer, evidence: LayerEvidence | None, *, weigh: bool) -> Self | None:
        """Takes a layer apart along the directions in which its outputs have the most energy.

        Args:
            module: the layer.
            layer: its weight.
            evidence: what passed through it.
            weigh: directions of the outputs for the inputs that were seen; otherwise of the matrix itself.

        Returns:
            None for a convolution whose padding differs between the sides.
        """
        if not isinstance(module, nn.Linear) and padding_of(module) is None:
            return None
        evidence = checked(module, layer, evidence)
        matrix = layer.matrix(module.weight.detach().cpu().double())
        second = None if evidence is None else evidence.A
        directions = _directions(matrix, second if weigh else None)
        return cls(module, matrix, directions, _errors(matrix, directions, second, evidence))

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Every rank that saves something, from 1."""
        groups, outputs, inputs = self.matrix.shape
        most = -(-outputs * inputs // (outputs + inputs)) - 1
        return tuple(
            Level(
                rank=(rank,),
                parameters=groups * rank * (outputs + inputs),
                macs=groups * rank * (outputs + inputs),
                error=float(self.errors[rank]),
            )
            for rank in range(1, min(most, self.directions.shape[2]) + 1)
        )

    def spec(self, level: Level) -> Spec:
        """Returns the two layers."""
        kept = self.directions[:, :, : level.rank[0]]
        first, second = (kept.mT @ self.matrix).float(), kept.float()
        if isinstance(self.module, nn.Linear):
            return LowRank(first[0].contiguous(), second[0].contiguous())
        padding = padding_of(self.module)
        assert padding is not None
        inputs, kernel = self.module.in_channels // self.module.groups, self.module.kernel_size
        ones = (1,) * len(kernel)
        return Convolutions(
            (
                Stage(
                    weight=first.reshape(-1, inputs, *kernel),
                    stride=self.module.stride,
                    padding=padding,
                    dilation=self.module.dilation,
                    groups=self.module.groups,
                ),
                Stage(
                    weight=second.reshape(-1, second.shape[2], *ones),
                    stride=ones,
                    padding=(0,) * len(kernel),
                    dilation=ones,
                    groups=self.module.groups,
                ),
            )
        )


def leading(matrix: Tensor, second: Tensor | None, rank: int) -> tuple[Tensor, Tensor]:
    """Returns factors of the matrix of some rank whose answers are nearest, `U_r` and `U_r^T W`.

    Args:
        matrix: `W`, float64 `[groups, outputs, inputs]`.
        second: `A`, float64 `[groups, inputs, inputs]` or its diagonal; None: the identity.
        rank: how many directions.
    """
    kept = _directions(matrix, second)[:, :, :rank]
    return kept, kept.mT @ matrix


def _directions(matrix: Tensor, second: Tensor | None) -> Tensor:
    """Returns the left singular vectors of `W A^(1/2)`, of `W` itself where there is no `A`.

    They are the eigenvectors of `W A W^T`, which is the smaller problem where a layer has no more outputs than inputs.
    """
    if second is None:
        rooted = matrix
    elif second.dim() == 3 and matrix.shape[1] <= matrix.shape[2]:
        answers = matrix @ second @ matrix.mT
        ascending: Tensor = torch.linalg.eigh((answers + answers.mT) / 2).eigenvectors
        return ascending.flip(2)
    elif second.dim() == 2:
        rooted = matrix * second.clamp_min(0).sqrt()[:, None, :]
    else:
        values, vectors = torch.linalg.eigh(second)
        rooted = (matrix @ vectors) * values.clamp_min(0).sqrt()[:, None, :]
    found: Tensor = torch.linalg.svd(rooted, full_matrices=False).U
    return found


def _errors(matrix: Tensor, directions: Tensor, second: Tensor | None, evidence: LayerEvidence | None) -> Tensor:
    """Sums `(U^T G U) * (U^T W A W^T U)` over the directions that are gone: `1/2 tr(G dW A dW^T)` for every rank."""
    inside = directions.mT @ matrix
    if second is not None:
        passed = inside @ second if second.dim() == 3 else inside * second[:, None, :]
        inside_energy = passed @ inside.mT
    else:
        inside_energy = inside @ inside.mT
    if evidence is None or evidence.gradient_sum is None:
        energy = inside_energy.diagonal(dim1=1, dim2=2).sum(0)
        gone = energy.flip(0).cumsum(0).flip(0)
        return torch.cat([gone, gone.new_zeros(1)]) / gone[0].clamp_min(math.ulp(0.0))
    G = evidence.G
    pulled = directions.mT @ (G @ directions if G.dim() == 3 else G[:, :, None] * directions)
    both = (pulled * inside_energy).sum(0)
    gone = both.flip(0, 1).cumsum(0).cumsum(1).diagonal().flip(0)
    return 0.5 * torch.cat([gone, gone.new_zeros(1)])
