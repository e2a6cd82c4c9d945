"""Few directions of a layer in full, and a technique of any kind for the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.calibrate import Encoder, Layer, LayerEvidence, reached
from laconic.calibrate.view import View
from laconic.core.coding import Coding
from laconic.core.codings import LowRankSum
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.sound import check_codable
from laconic.factorize.decomposition import energy
from laconic.factorize.truncation import leading

HALF = torch.finfo(torch.float16)


@final
@dataclass(frozen=True, kw_only=True)
class LowRankPlus:
    """`W' = L + R` with `L` of low rank and `R` by another technique: a mask, a grid, a codebook.

    In turn `R` is the technique's answer to `W - L`, and `L` the matrix of its rank that comes nearest to `W - R` at
    the layer's output, `min tr(E A E^T)`: `L = U_r U_r^T (W - R)`, `U` the directions in which what `R` leaves has the
    most energy. The best of what was found is taken.

    Saves bytes, not multiply-accumulates: it is one coding of one weight, which every technique that takes codings can
    work with, and a runtime computes with the decoded weight.

    Args:
        residual: codes what the product leaves.
        rank: of the product, in every group.
        rounds: in which both are found anew.

    Guarantees:
        With the whole `A`, the layer's output changes no more on the calibration data than with `residual` alone, up to
        the rounding of the factors to half precision.

    Reference:
        Yao et al. 2023, arXiv:2303.08302 (low-rank compensation); Zhang et al. 2024, arXiv:2402.02446 (in the metric of
        the inputs); Saha et al. 2024, arXiv:2405.18886, algorithm 1 (both in turn).

    Example:
        >>> from laconic.core.codings import Dense
        >>> class Nothing:
        ...     def encode(self, weight, layer, evidence=None):
        ...         return Dense.of(torch.zeros_like(weight))
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(4, 8))
        >>> weight = torch.outer(torch.arange(4.0), torch.ones(8))
        >>> coding = LowRankPlus(residual=Nothing(), rank=1).coding(weight, layer)
        >>> str(coding), bool((coding.decode() - weight).abs().max() < 0.01)
        ('rank 1 plus dense 4 x 8', True)
    """

    residual: Encoder
    rank: int = 8
    rounds: int = 1

    def __post_init__(self) -> None:
        check_whole("factorize.LowRankPlus.rank", self.rank, 1)
        check_whole("factorize.LowRankPlus.rounds", self.rounds, 0)

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> LowRankSum:
        """Returns the weight as a sum.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: all inputs count alike.

        Raises:
            ModelError: the weight holds NaN or infinity.
            UsageError: the rank is no smaller than the layer's, or the sum would take more bytes than the weight.
        """
        found = self.coding(weight, layer, evidence)
        if found.size_bytes >= 4 * math.prod(layer.shape):
            raise invalid(
                f"factorize.LowRankPlus({layer.parameter}).rank",
                self.rank,
                f"a sum smaller than the layer: {found.size_bytes:,} bytes for {4 * math.prod(layer.shape):,}",
            )
        return found

    def coding(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> LowRankSum:
        """Returns the weight as a sum, whatever it takes."""
        _, outputs, inputs = layer.matrix_shape
        if self.rank >= min(outputs, inputs):
            expected = f"fewer than {min(outputs, inputs)}, the rank of the layer"
            raise invalid(f"factorize.LowRankPlus({layer.parameter}).rank", self.rank, expected)
        check_codable(weight, layer.parameter)
        weight = weight.detach().cpu().float()
        evidence = reached(evidence)
        A = None if evidence is None else evidence.A
        best, least, product = None, math.inf, torch.zeros_like(weight)
        for _ in range(self.rounds + 1):
            rest = self.residual.encode(weight - product, layer, evidence)
            left, right = leading(layer.matrix((weight - rest.decode()).double()), A, self.rank)
            found = _sum(layer, left, right, rest)
            error = energy(layer.matrix((found.decode() - weight).double()), evidence)
            if best is None or error < least:
                best, least = found, error
            product = found.product()
        assert best is not None
        return best

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))


def _sum(layer: Layer, left: Tensor, right: Tensor, rest: Coding) -> LowRankSum:
    """Returns a sum of factors of the layer's matrix, in the order in which the weight is stored."""
    view = View.of(layer, whole_kernels=True)
    if layer.kind == "embedding":  # Its rows are the matrix's columns.
        left, right = right.mT, left.mT
    else:
        right = right[:, :, view.columns]
    return LowRankSum(layout=view.layout, left=_stored(left), right=_stored(right), rest=rest)


def _stored(factor: Tensor) -> Tensor:
    """Returns a factor in half precision where that does it no harm."""
    size = factor.abs().max() if factor.numel() else torch.ones(())
    harmless = size == 0 or 1e-3 < size < HALF.max / 4
    return factor.to(torch.float16 if harmless else torch.float32).contiguous()
