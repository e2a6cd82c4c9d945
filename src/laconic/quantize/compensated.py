"""Weights on affine integer grids, each rounding error made up for by the weights rounded after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.codings import AffineGrid
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.scales import short
from laconic.quantize.ranges import LeastError, Range
from laconic.quantize.round_to_nearest import RoundToNearest
from laconic.quantize.view import View, best, fitted
from laconic.solve import InputMetric, Rule, compensate, refine


@final
@dataclass(frozen=True, kw_only=True)
class CompensatedRounding:
    """Affine grids of 2 to 8 bits, with the least change of the layer's output `tr(dW A dW^T)`.

    The range is chosen first. Then inputs are rounded one by one, those with the most energy first, and the error of
    each is passed on to the inputs still to come. Rounds of two steps follow: the scales that fit the codes best (least
    squares), and the nearest code of each weight while all the others stay.

    Where `A` is unknown, zero or a diagonal (a layer that nothing reached, an embedding, more than 12,288 inputs) no
    error can make up for another one, and weights are rounded to the nearest point.

    Args:
        bits: 2 to 8.
        symmetric: signed codes around zero (what integer kernels want), or unsigned codes with a zero point.
        per: what shares a scale: `"tensor"`, `"channel"` (an output channel, a row of an embedding), or a number: that
            many consecutive weights of a channel.
        range: how far the grid reaches at first.
        damping: added to the diagonal of `A`, as a share of its mean; more for less trust in the calibration data.
        rounds: of fitting scales and codes to each other.
        keep_zeros: weights that are zero stay zero, so that a mask chosen before is kept.

    Guarantees:
        No output channel (with `per="tensor"`: the whole layer) changes its output on the calibration data by more than
        rounding to the nearest point of the grid first chosen would.
        The weight's shape stays.

    Reference:
        Frantar et al. 2022, arXiv:2210.17323 (GPTQ); Hassibi and Stork 1992.

    Example:
        >>> import torch
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(4, 8))
        >>> str(CompensatedRounding(bits=4).encode(torch.randn(4, 8), layer))
        '4-bit symmetric grid per channel'
    """

    bits: int = 4
    symmetric: bool = True
    per: Literal["tensor", "channel"] | int = "channel"
    range: Range = field(default_factory=lambda: LeastError(candidates=12, narrowest=0.4))
    damping: float = 0.01
    rounds: int = 1
    keep_zeros: bool = False

    def __post_init__(self) -> None:
        RoundToNearest(bits=self.bits, per=self.per)
        check_whole("quantize.CompensatedRounding.rounds", self.rounds, 0)
        if not self.damping > 0:
            raise invalid("quantize.CompensatedRounding.damping", self.damping, "a positive number")

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> AffineGrid:
        """Returns the weight on its grid.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: each weight is rounded to the nearest point.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """
        evidence = reached(evidence)
        # `A` is made anew wherever it is wanted: of 8,192 inputs it takes half a gigabyte.
        nearest = RoundToNearest(bits=self.bits, symmetric=self.symmetric, per=self.per, range=self.range)
        plain = nearest.rounded(weight, layer, None if evidence is None else evidence.A)
        if evidence is None or evidence.input_sum.dim() == 2:
            return plain
        weight = weight.detach().cpu().float()
        return best(plain, self._found(plain, weight, layer, evidence), weight, layer, evidence.A)

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))

    @property
    def _stretches(self) -> tuple[float, ...]:
        """Errors passed on widen what is rounded, and with few levels it matters where the last one lies."""
        return (0.85, 0.92, 1.0, 1.1, 1.2) if self.bits <= 3 else (1.0,)

    def _found(self, plain: AffineGrid, weight: Tensor, layer: Layer, evidence: LayerEvidence) -> list[AffineGrid]:
        view = View(layer, plain.blocks, InputMetric.of(evidence.A, damping=self.damping))
        stretched = [replace(plain, scale=short(plain.scale.float() * stretch)) for stretch in self._stretches]
        return [self._searched(view, weight, grid) for grid in stretched]

    def _searched(self, view: View, weight: Tensor, grid: AffineGrid) -> AffineGrid:
        target = view.arrange(weight)
        free = (target != 0).float() if self.keep_zeros else None
        projected = compensate(target, view.metric, _rule(view, grid, free))
        for _ in range(self.rounds):
            levels = projected / view.spread(grid.scale)
            grid = replace(grid, scale=short(fitted(view, target, levels, grid.scale.float())))
            projected = refine(target, levels * view.spread(grid.scale), view.metric, _rule(view, grid, free))
        return grid.encode(view.restore(projected))


def _rule(view: View, grid: AffineGrid, free: Tensor | None) -> Rule:
    scales, lowest, highest = view.spread(grid.scale), grid.lowest, grid.lowest + 2**grid.bits - 1
    zeros = None if grid.zero_point is None else view.spread(grid.zero_point.float())

    def nearest(wanted: Tensor, place: int) -> Tensor:
        scale, found = scales[:, place], wanted / scales[:, place]
        if zeros is None:
            found = found.round_().clamp_(lowest, highest).mul_(scale)
        else:
            zero = zeros[:, place]
            found = found.add_(zero).round_().clamp_(lowest, highest).sub_(zero).mul_(scale)
        return found if free is None else found * free[:, place]

    return nearest
