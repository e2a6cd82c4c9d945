"""Weights in small number formats: floating point, powers of two, quantiles, ternary, binary, or any table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.blocks import Blocks
from laconic.core.codings import Sparse, ValueGrid
from laconic.core.codings.value_grid import EXPONENT_BIAS, midpoints
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.formats import FP4_E2M1, FP6_E2M3, FP8_E4M3, INT8, NF4, Format
from laconic.core.sound import check_codable
from laconic.quantize.ranges import Error
from laconic.quantize.round_to_nearest import RoundToNearest, felt, squared
from laconic.quantize.view import SMALLEST, View, best, fitted, left_over
from laconic.solve import EXACT, Rule, compensate, halfway_inputs, metric_of, refine

FEW = 8  # With so few values it matters where the largest lies, and a single weight's nearest value says little.
HALF = torch.finfo(torch.float16)
MX_BLOCK = 32


@final
@dataclass(frozen=True, kw_only=True)
class RoundToValues:
    """Weights as values of a format times a scale, with the least change of the layer's output `tr(dW A dW^T)`.

    Scales are searched first, each weight at the nearest value. Then, as far as `A` knows of inputs that go together,
    inputs are rounded one by one, the error of each is passed on, and scales and codes are fitted to each other, as
    `CompensatedRounding` does.

    Args:
        format: the values, such as `formats.NF4`, or `Format("mine", (-1, 0, 0.3, 1))`.
        per: what shares a scale: `"tensor"`, `"channel"` (an output channel, a row of an embedding), or a number: that
            many consecutive weights of a channel.
        scale: `"float"`: any number, in 16 bits where that is harmless; `"power_of_two"`: eight bits, as MX formats do.
        compensate: False rounds each weight to its nearest value.
        damping: added to the diagonal of `A`, as a share of its mean; more for less trust in the calibration data.
        rounds: of fitting scales and codes to each other.
        keep_zeros: weights that are zero stay zero, whether or not the format has a zero, and count for nothing else.

    Guarantees:
        No output channel (with `per="tensor"`: the whole layer) changes its output on the calibration data by more than
        rounding to the nearest values of the scales first chosen would.
        Blocks of zeros stay zero if zero is one of the values, and otherwise become smaller than 1e-22.

    Reference:
        Of each format in `core.formats`; Frantar et al. 2022, arXiv:2210.17323 (compensation).

    Example:
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(4, 64))
        >>> coding = RoundToValues(format=NF4, per=32).encode(torch.randn(4, 64), layer)
        >>> str(coding), coding.size_bytes
        ('nf4 values per group of 32', 144)
    """

    format: Format = NF4
    per: Literal["tensor", "channel"] | int = "channel"
    scale: Literal["float", "power_of_two"] = "float"
    compensate: bool = True
    damping: float = 0.01
    rounds: int = 1
    keep_zeros: bool = False

    def __post_init__(self) -> None:
        if self.per not in ("tensor", "channel") and not (isinstance(self.per, int) and self.per > 0):
            raise invalid("quantize.RoundToValues.per", self.per, "'tensor', 'channel' or a positive group size")
        if self.scale not in ("float", "power_of_two"):
            raise invalid("quantize.RoundToValues.scale", self.scale, "'float' or 'power_of_two'")
        if not self.damping > 0:
            raise invalid("quantize.RoundToValues.damping", self.damping, "a positive number")
        check_whole("quantize.RoundToValues.rounds", self.rounds, 0)

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> ValueGrid | Sparse:
        """Returns the weight in the format; inside a mask where zeros stay that the format does not have.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: each weight takes the nearest value.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """
        check_codable(weight, layer.parameter)
        weight = weight.detach().cpu().float()
        kept = weight != 0 if self.keep_zeros else None
        found = self._found(weight, layer, evidence, kept)
        return found if kept is None or 0.0 in self.format.values else Sparse.around(found, kept)

    def _found(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None, kept: Tensor | None) -> ValueGrid:
        blocks, seen = RoundToNearest(per=self.per).blocks(layer), reached(evidence)
        there = torch.ones(()) if kept is None else blocks.split(kept.float())
        if seen is None or seen.input_sum.dim() == 2 or not self.compensate:
            return self._plain(weight, blocks, squared if seen is None else felt(blocks, layer, seen), there)
        view = View(layer, blocks, metric_of(seen, damping=self.damping))
        first = plain = self._plain(weight, blocks, left_over(view), there)
        if layer.matrix_shape[2] <= EXACT:  # As in `CompensatedRounding`.
            plain = self._plain(weight, blocks, felt(blocks, layer, seen), there)
            plain = replace(plain, scale=self._stored(plain.steps, first.scale.dtype)).encode(weight)
        starts = [self._stored(first.steps * stretch, first.scale.dtype) for stretch in self._stretches]
        free = None if kept is None else view.arrange(kept.float())
        found = [self._searched(view, weight, replace(first, scale=start), free) for start in starts]
        pairs = [(each.scale, each.decode()) for each in found]
        return best(plain, pairs, weight, layer, halfway_inputs(seen), kept)

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))

    @property
    def _stretches(self) -> tuple[float, ...]:
        """Errors passed on widen what is rounded."""
        if len(self.format.values) > FEW:
            return (1.0,)
        if self.scale == "power_of_two":
            return (1.0, 2.0)
        return (1.0, 1.2, 1.4, 1.6, 1.8) if len(self.format.values) <= 3 else (0.85, 0.92, 1.0, 1.1, 1.2)

    @property
    def _shares(self) -> Tensor:
        """Of the scale that reaches every weight: which ones are tried."""
        if self.scale == "power_of_two":
            return torch.tensor([1.0, 0.5, 0.25])
        return torch.linspace(0.1, 1, 13) if len(self.format.values) <= FEW else torch.linspace(0.4, 1, 7)

    def _plain(self, weight: Tensor, blocks: Blocks, error: Error, there: Tensor) -> ValueGrid:
        """Returns the nearest values under the best scales found; they count where `there`, by blocks, is one."""
        values = blocks.split(weight).contiguous()
        widest = _reaching(values, self.format)
        if self.scale == "power_of_two":
            widest = torch.exp2(widest.log2().ceil())
        table, middle = self.format.table, midpoints(self.format)
        scale, least = widest, torch.full_like(widest, torch.inf)
        for share in self._shares:
            tried = (widest * share).clamp_min(SMALLEST)[:, None]
            levels = table[torch.bucketize(values / tried, middle)] * there
            if self.scale == "float":
                tried = _least_squares(levels, values, tried)
                if len(table) <= FEW:
                    levels = table[torch.bucketize(values / tried, middle)] * there
            cost = error(levels * tried - values)
            scale, least = torch.where(cost < least, tried[:, 0], scale), torch.minimum(cost, least)
        return ValueGrid.fit(weight, format=self.format, blocks=blocks, scale=self._stored(scale))

    def _stored(self, scale: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Returns scales as they are stored: exponents, half precision where all of them fit, or single."""
        if self.scale == "power_of_two":
            return (scale.log2().round() + EXPONENT_BIAS).clamp(EXPONENT_BIAS - 80, EXPONENT_BIAS + 80).to(torch.uint8)
        if dtype is None:
            # A factor of four is left for what becomes of a scale later.
            fits = bool(((scale > 4 * HALF.tiny) & (scale < HALF.max / 4)).all())
            dtype = torch.float16 if fits else torch.float32
        return scale.clamp(HALF.tiny, HALF.max).half() if dtype == torch.float16 else scale

    def _searched(self, view: View, weight: Tensor, grid: ValueGrid, free: Tensor | None) -> ValueGrid:
        target, dtype = view.arrange(weight), grid.scale.dtype
        projected = compensate(target, view.metric, _rule(view, grid, free))
        for _ in range(self.rounds):
            levels = projected / view.spread(grid.steps)
            if self.scale == "float":
                steps = fitted(view, target, levels, grid.steps)
                grid = replace(grid, scale=self._stored(torch.where(steps > 0, steps, grid.steps), dtype))
            projected = refine(target, levels * view.spread(grid.steps), view.metric, _rule(view, grid, free))
        return grid.encode(view.restore(projected))


MXFP8 = RoundToValues(format=FP8_E4M3, per=MX_BLOCK, scale="power_of_two")
MXFP6 = RoundToValues(format=FP6_E2M3, per=MX_BLOCK, scale="power_of_two")
MXFP4 = RoundToValues(format=FP4_E2M1, per=MX_BLOCK, scale="power_of_two")
MXINT8 = RoundToValues(format=INT8, per=MX_BLOCK, scale="power_of_two")


def _rule(view: View, grid: ValueGrid, free: Tensor | None) -> Rule:
    scales, table, middle = view.spread(grid.steps), grid.format.table, midpoints(grid.format)

    def nearest(wanted: Tensor, place: int) -> Tensor:
        scale = scales[:, place]
        found = table[torch.bucketize(wanted / scale, middle)] * scale
        return found if free is None else found * free[:, place]

    return nearest


def _reaching(values: Tensor, format: Format) -> Tensor:
    """Returns the smallest scale of each block, `[count]`, with which no weight lies beyond the last value."""
    low, high = format.values[0], format.values[-1]
    above = values.amax(1) / high if high > 0 else torch.zeros(len(values))
    below = values.amin(1) / low if low < 0 else torch.zeros(len(values))
    widest = torch.maximum(above, below)
    # Zeros may have any scale if zero is one of the values; if not, the least one leaves the least of them.
    return torch.where(widest > SMALLEST, widest, 1.0 if 0.0 in format.values else 100 * SMALLEST)


def _least_squares(levels: Tensor, values: Tensor, scale: Tensor) -> Tensor:
    """Returns the scale `[count, 1]` of each block that brings its levels nearest to its values."""
    found = (levels * values).sum(1, keepdim=True) / levels.square().sum(1, keepdim=True)
    return torch.where((found > SMALLEST) & found.isfinite(), found, scale)
