"""Weights on affine integer grids, each rounding error made up for by the weights rounded after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.codings import AffineGrid
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.scales import short
from laconic.core.sound import check_codable
from laconic.quantize.ranges import LeastError, Range
from laconic.quantize.round_to_nearest import RoundToNearest
from laconic.quantize.view import View, best, fitted
from laconic.solve import Rule, compensate, halfway_inputs, metric_of, refine

TOGETHER = 2**24  # Numbers that are searched at once.
MANY = 2**16


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
        return rounded_together((self,), weight, layer, evidence)[0]

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))

    @property
    def _stretches(self) -> tuple[float, ...]:
        """Errors passed on widen what is rounded, and with few levels it matters where the last one lies."""
        return (0.85, 0.92, 1.0, 1.1, 1.2) if self.bits <= 3 else (0.92, 1.0, 1.1)

    @property
    def _nearest(self) -> RoundToNearest:
        return RoundToNearest(bits=self.bits, symmetric=self.symmetric, per=self.per, range=self.range)

    def _starts(self, weight: Tensor, layer: Layer, evidence: LayerEvidence) -> list[AffineGrid]:
        """The grid with the nearest points first, then those to start from."""
        plain = self._nearest.encode(weight, layer, evidence)
        return [plain, *(replace(plain, scale=short(plain.scale.float() * each)) for each in self._stretches)]


def rounded_together(
    techniques: Sequence[CompensatedRounding], weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None
) -> list[AffineGrid]:
    """Returns what `encode` of each technique returns, for less work: what they have in common is done once.

    Args:
        techniques: alike but for their bits.
        weight: as there.
        layer: as there.
        evidence: as there.
    """
    evidence = reached(evidence)
    if evidence is None or evidence.input_sum.dim() == 2:
        return [technique._nearest.encode(weight, layer, evidence) for technique in techniques]
    check_codable(weight, layer.parameter)
    weight, first = weight.detach().cpu().float(), techniques[0]
    view = View(layer, first._nearest.blocks(layer), metric_of(evidence, damping=first.damping))
    starts = [technique._starts(weight, layer, evidence) for technique in techniques]
    runs = [others for _, *others in starts]
    together = max(1, TOGETHER // max(1, weight.numel() * max(map(len, runs))))
    found: list[list[tuple[Tensor, Tensor]]] = []
    for place in range(0, len(runs), together):
        found += _searched(view, weight, runs[place : place + together], first.rounds, keep_zeros=first.keep_zeros)
    error = halfway_inputs(evidence)
    return [best(plain, pairs, weight, layer, error) for (plain, *_), pairs in zip(starts, found, strict=True)]


def _searched(
    view: View, weight: Tensor, runs: list[list[AffineGrid]], rounds: int, *, keep_zeros: bool
) -> list[list[tuple[Tensor, Tensor]]]:
    """Returns scales and values of the weight on each grid, from one sweep over the inputs for all runs of grids.

    In a large weight each output goes on with the grid of its run that the first sweep found best, if it has scales of
    its own: that costs up to 1 % more error, and saves half of the work. In a small one all are followed to the end.
    """
    target, grids = view.arrange(weight), [grid for run in runs for grid in run]
    targets = target.repeat(1, 1, len(grids))
    cost = torch.zeros_like(targets[:, 0])
    rule = _rule(view, grids, (targets != 0).float() if keep_zeros else None)
    projected = compensate(targets, view.metric, _counting(rule, view.metric.alone, cost))
    counts = [len(run) for run in runs]
    if view.by_channel and weight.numel() > MANY:
        wide = [n * target.shape[2] for n in counts]
        each = zip(runs, torch.split(projected, wide, -1), torch.split(cost, wide, -1), strict=True)
        pairs = [_cheapest(*one) for one in each]
        grids, counts = [grid for grid, _ in pairs], [1] * len(runs)
        projected = torch.cat([part for _, part in pairs], 2)
        targets = target.repeat(1, 1, len(grids))
    free = (targets != 0).float() if keep_zeros else None
    for _ in range(rounds):
        parts = projected.chunk(len(grids), 2)
        levels = [part / view.spread(g.scale) for part, g in zip(parts, grids, strict=True)]
        scales = [fitted(view, target, level, g.scale.float()) for level, g in zip(levels, grids, strict=True)]
        grids = [replace(g, scale=short(scale)) for g, scale in zip(grids, scales, strict=True)]
        starts = torch.cat([level * view.spread(g.scale) for level, g in zip(levels, grids, strict=True)], 2)
        projected = refine(targets, starts, view.metric, _rule(view, grids, free))
    pieces = zip(grids, projected.chunk(len(grids), 2), strict=True)
    found = iter([(grid.scale, view.restore(piece)) for grid, piece in pieces])
    return [[next(found) for _ in range(count)] for count in counts]


def _counting(rule: Rule, alone: Tensor, cost: Tensor) -> Rule:
    """Adds up in `cost` what each output's error comes to, `[groups, outputs]`."""

    def counted(wanted: Tensor, place: int) -> Tensor:
        found = rule(wanted, place)
        gap = wanted - found
        cost.addcmul_(gap, gap * alone[:, place, None])
        return found

    return counted


def _cheapest(run: list[AffineGrid], projected: Tensor, cost: Tensor) -> tuple[AffineGrid, Tensor]:
    """Returns for each output the grid of the least cost, and the weight on it."""
    groups, inputs, wide = projected.shape
    outputs = wide // len(run)
    taken = cost.view(groups, len(run), outputs).argmin(1)
    scales = torch.stack([grid.scale.view(groups, outputs, -1) for grid in run], 1)
    scale = scales.take_along_dim(taken[:, None, :, None], 1).flatten()
    places = taken[:, None, None].expand(groups, inputs, 1, outputs)
    return replace(run[0], scale=scale), projected.view(groups, inputs, len(run), outputs).gather(2, places)[:, :, 0]


def _rule(view: View, grids: list[AffineGrid], free: Tensor | None) -> Rule:
    """Rounds to the grids, whose matrices lie side by side."""
    outputs = view.layer.matrix_shape[1]
    scales = _side_by_side(view, [grid.scale.float() for grid in grids])
    lowest = torch.tensor([float(grid.lowest) for grid in grids]).repeat_interleave(outputs)
    highest = lowest + torch.tensor([2.0**grid.bits - 1 for grid in grids]).repeat_interleave(outputs)
    points = [grid.zero_point.float() for grid in grids if grid.zero_point is not None]
    zeros = _side_by_side(view, points) if points else None

    def nearest(wanted: Tensor, place: int) -> Tensor:
        scale = scales[:, place if scales.shape[1] > 1 else 0]
        found = wanted / scale
        if zeros is None:
            found = found.round_().clamp_(lowest, highest).mul_(scale)
        else:
            zero = zeros[:, place if zeros.shape[1] > 1 else 0]
            found = found.add_(zero).round_().clamp_(lowest, highest).sub_(zero).mul_(scale)
        return found if free is None else found * free[:, place]

    return nearest


def _side_by_side(view: View, values: list[Tensor]) -> Tensor:
    """Returns each grid's values for each output, or for each element, `[groups, 1 or inputs, grids * outputs]`."""
    spread = [view.spread(each) for each in values]
    return torch.cat([each[:, :1] if view.by_output else each for each in spread], 2)
