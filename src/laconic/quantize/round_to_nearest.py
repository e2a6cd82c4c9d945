"""Weights on affine integer grids, each rounded to the nearest point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.blocks import Blocks
from laconic.core.codings import AffineGrid
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.scales import short
from laconic.core.sound import check_codable
from laconic.quantize.ranges import Error, LeastError, Range
from laconic.solve import Product, through_inputs


@final
@dataclass(frozen=True, kw_only=True)
class RoundToNearest:
    """Affine grids of 2 to 8 bits for weights.

    Args:
        bits: 2 to 8.
        symmetric: signed codes around zero (what integer kernels want), or unsigned codes with a zero point.
        per: what shares a scale: `"tensor"`, `"channel"` (an output channel, a row of an embedding), or a number: that
            many consecutive weights of a channel.
        range: how far the grid reaches.
        weigh: measure the rounding error at the layer's output, `tr(dW A dW^T)` with `A` the second moment of the
            layer's inputs, instead of at the weight. Only `LeastError` searches, so only it uses this.

    Guarantees:
        The weight's shape stays.
        With `MinMax`, no weight moves by more than half a step.
        With a scale a channel, `weigh` never costs more at the layer's output than the squared error does; beyond 256
        inputs, where `A` is approximated, only nearly so. The error of a group is that of its own inputs alone, since
        what others do about it is not known when its scale is chosen.

    Example:
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(4, 8))
        >>> coding = RoundToNearest(bits=4).encode(torch.randn(4, 8), layer)
        >>> str(coding), coding.size_bytes
        ('4-bit symmetric grid per channel', 24)
    """

    bits: int = 8
    symmetric: bool = True
    per: Literal["tensor", "channel"] | int = "channel"
    range: Range = field(default_factory=LeastError)
    weigh: bool = True

    def __post_init__(self) -> None:
        check_whole("quantize.RoundToNearest.bits", self.bits, 2, 8)
        if self.per not in ("tensor", "channel") and not (isinstance(self.per, int) and self.per > 0):
            raise invalid("quantize.RoundToNearest.per", self.per, "'tensor', 'channel' or a positive group size")

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> AffineGrid:
        """Returns the weight on its grid.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: the error is measured at the weight.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """
        seen = reached(evidence)
        error = felt(self.blocks(layer), layer, seen) if self.weigh and seen is not None else squared
        return self.rounded(weight, layer, error)

    def rounded(self, weight: Tensor, layer: Layer, error: Error) -> AffineGrid:
        """Does what `encode` does, with scales that are searched by an error of one's own."""
        check_codable(weight, layer.parameter)
        weight = weight.detach().float()
        blocks = self.blocks(layer)
        steps = self.range.choose(
            blocks.split(weight), blocks.split(torch.ones_like(weight)), error, bits=self.bits, symmetric=self.symmetric
        )
        scale = short(steps.scale)
        return AffineGrid.fit(weight, bits=self.bits, blocks=blocks, scale=scale, zero_point=steps.zero_point)

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))

    def blocks(self, layer: Layer) -> Blocks:
        """Returns which elements of a layer's weight share a scale."""
        axis = None if self.per == "tensor" else layer.output_axis
        return Blocks(shape=layer.shape, axis=axis, group_size=self.per if isinstance(self.per, int) else None)


def squared(delta: Tensor) -> Tensor:
    """Sum of squares of every block: `[count, length] -> [count]`."""
    return delta.square().sum(1)


def felt(blocks: Blocks, layer: Layer, evidence: LayerEvidence) -> Error:
    """Returns the error at a layer's output by which scales are chosen.

    Args:
        blocks: what shares a scale. Groups of a channel are judged each by itself: shares of what all of them do
            together can be negative, and lead astray.
        layer: whose weight it is.
        evidence: of its inputs.
    """
    if blocks.group_size is None:
        return weighed(blocks, layer, through_inputs(evidence))
    moment, (groups, outputs, inputs) = evidence.input_sum, layer.matrix_shape
    runs = layer.kind in ("linear", "conv") and not layer.transposed and blocks.channels == groups * outputs
    if moment.dim() == 2 or not runs:
        energy = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
        mass = blocks.split(layer.weight((energy / energy.max()).float()[:, None, :].expand(layer.matrix_shape)))
        return lambda delta: (delta.square() * mass).sum(1)
    length, largest = blocks.length, moment.diagonal(dim1=1, dim2=2).max()
    parts = [(moment[:, s : s + length, s : s + length] / largest).float() for s in range(0, inputs, length)]
    parts[-1] = functional.pad(parts[-1], (0, blocks.missing, 0, blocks.missing))
    own = torch.stack(parts, 1)  # `[groups, runs of inputs, length, length]`

    def error(delta: Tensor) -> Tensor:
        change = delta.view(groups, outputs, -1, length).transpose(1, 2)
        return ((change @ own) * change).sum(3).transpose(1, 2).flatten()

    return error


def weighed(blocks: Blocks, layer: Layer, passed: Product) -> Error:
    """Returns the error at a layer's output, `tr(dW A dW^T)`, shared out among the blocks.

    An element's share is `(dW A)_ij dW_ij`; shares sum to the whole, whatever the blocks are.

    Args:
        blocks: what shares a scale.
        layer: whose weight it is.
        passed: returns `dW A` for `dW`, both `[groups, outputs, inputs]`, in memory of its own.
    """

    def error(delta: Tensor) -> Tensor:
        matrix = layer.matrix(blocks.join(delta))
        return blocks.split(layer.weight(passed(matrix).mul_(matrix))).sum(1)

    return error
