"""A layer's weight as a solver sees it, and what techniques whose blocks have scales share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from laconic.calibrate import Layer
from laconic.core.blocks import Blocks
from laconic.core.codings import AffineGrid, ValueGrid
from laconic.quantize.ranges import Error
from laconic.quantize.round_to_nearest import weighed
from laconic.solve import InputMetric, Product

SMALLEST = 1e-25  # A scale below this would overflow when divided by.
Grid = TypeVar("Grid", AffineGrid, ValueGrid)


class View(NamedTuple):
    """A layer's weight as a solver sees it, and which elements share a scale."""

    layer: Layer
    blocks: Blocks
    metric: InputMetric

    def arrange(self, weight: Tensor) -> Tensor:
        """Returns a tensor of the weight's shape as `[groups, inputs, outputs]`, inputs in the metric's order."""
        return self.metric.arrange(self.layer.matrix(weight))

    def restore(self, arranged: Tensor) -> Tensor:
        """Undoes `arrange`."""
        return self.layer.weight(self.metric.restore(arranged))

    def spread(self, values: Tensor) -> Tensor:
        """To every element its block's value: `[blocks.count]` to arranged, a view where outputs are the blocks."""
        groups, outputs, inputs = self.layer.matrix_shape
        if self.by_output:
            return values.reshape(groups, 1, outputs).expand(groups, inputs, outputs)
        return self.arrange(self.blocks.join(values[:, None].expand(-1, self.blocks.length)))

    def total(self, arranged: Tensor) -> Tensor:
        """The sum over each block's elements: arranged to `[blocks.count]`."""
        if self.by_output:
            return arranged.sum(1).flatten()
        return self.blocks.split(self.restore(arranged)).sum(1)

    @property
    def by_output(self) -> bool:
        """Whether each output of each group is a block: then it has one value, whatever the order of inputs."""
        return self.by_channel and self.blocks.group_size is None

    @property
    def by_channel(self) -> bool:
        """Whether each output of each group has blocks of its own."""
        groups, outputs, _ = self.layer.matrix_shape
        along = self.blocks.axis == self.layer.output_axis and self.layer.kind != "embedding"
        return along and self.blocks.channels == groups * outputs


def left_over(view: View) -> Error:
    """Returns the error of each block once the inputs after it made up for theirs: `R_jj^2 e_j^2`, summed.

    This is what a scale costs that is chosen for compensated codes. What errors do to the output before that, shared
    out by `felt`, rises and falls with how signs happen to fall, and says little of what remains.
    """
    alone = view.metric.alone[:, :, None].expand(-1, -1, view.layer.matrix_shape[1])
    mass = view.blocks.split(view.restore(alone))
    return lambda delta: delta.square().mul_(mass).sum(1)


def fitted(view: View, target: Tensor, levels: Tensor, scale: Tensor) -> Tensor:
    """Moves scales to where `levels * scale` has the least error.

    One scale a channel, or for all, goes to the least squares solution. Scales of groups move by one step of steepest
    descent in each channel, of the best length.

    Args:
        view: of the layer.
        target: the weight, arranged.
        levels: what the codes stand for before they are scaled, arranged.
        scale: `[blocks.count]`, to start from.
    """
    moment = view.metric.single
    if view.blocks.group_size is None:
        passed = moment @ levels
        cost = view.total(passed * levels)
        return _usable(view.total(passed * target) / torch.where(cost > 0, cost, torch.inf), scale)
    slope = view.total(levels * (moment @ (target - levels * view.spread(scale))))
    curvature = view.total(levels.square() * moment.diagonal(dim1=1, dim2=2)[:, :, None])
    step = slope / torch.where(curvature > 0, curvature, torch.inf)
    change = levels * view.spread(step)
    by_channel = (view.blocks.channels, -1)
    gain = (step * slope).reshape(by_channel).sum(1)
    cost = view.total(change * (moment @ change)).reshape(by_channel).sum(1)
    length = gain / torch.where(cost > 0, cost, torch.inf)
    return _usable(scale + step * length.repeat_interleave(len(scale) // view.blocks.channels), scale)


def _usable(found: Tensor, scale: Tensor) -> Tensor:
    return torch.where(found.isfinite() & (found.abs() > SMALLEST), found, scale)


def best(
    plain: Grid,
    found: Iterable[tuple[Tensor, Tensor]],
    weight: Tensor,
    layer: Layer,
    passed: Product,
    kept: Tensor | None = None,
) -> Grid:
    """Takes each channel from the grid that changes its output least, in doubt from the plain one.

    Args:
        plain: the first choice.
        found: scales of others over the same blocks, stored in the same type, and the weight's values on them.
        weight: the original.
        layer: whose weight it is.
        passed: as of `halfway`.
        kept: where the grid's values count, bool of the weight's shape; None: everywhere.
    """
    channels = Blocks(shape=plain.shape, axis=plain.blocks.axis)
    error = weighed(channels, layer, passed)
    original, values, scale = channels.split(weight), channels.split(plain.decode()), plain.scale
    there = torch.ones(()) if kept is None else channels.split(kept.float())
    least = error(values * there - original)
    for other, decoded in found:
        candidate = channels.split(decoded)
        cost = error(candidate * there - original)
        better = cost < least
        least = torch.where(better, cost, least)
        values = torch.where(better[:, None], candidate, values)
        scale = torch.where(better.repeat_interleave(len(scale) // len(better)), other, scale)
    return replace(plain, scale=scale).encode(channels.join(values))
