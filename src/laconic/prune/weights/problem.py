"""A layer's pruning as a solver sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import torch
from torch import Tensor

from laconic.calibrate import LayerEvidence
from laconic.calibrate.view import View
from laconic.prune.weights.patterns import Pattern
from laconic.prune.weights.technique import energies, pulls
from laconic.solve import InputMetric
from laconic.solve.least_squares import least_squares

SMALLEST = 1e-30  # Of a weight: one over it is a number.
LEAST_PULL = 1e-6  # Of the mean one: an output that nothing depends on still keeps what costs nothing.


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Find `W'` of a pattern with the least `tr(G dW A dW^T)`, `G` taken as its diagonal.

    Then outputs are independent, and with rows scaled by `sqrt(G_ii)` they all count the same. Columns that belong
    together in the pattern lie side by side; units of them come in order of energy, the least first.

    Args:
        weight: as it is.
        view: of the layer.
        metric: of the layer, its inputs in this order.
        pull: `sqrt(G_ii)`, about one on average, over the largest weight, float32 `[groups, 1, outputs]`.
        target: the scaled weight, float32 `[groups, inputs, outputs]`, arranged by the metric.
        felt: the same, zero at inputs that were always zero: what the search for places sees, so that those go first.
    """

    weight: Tensor
    view: View
    metric: InputMetric
    pull: Tensor
    target: Tensor
    felt: Tensor

    @classmethod
    def of(cls, weight: Tensor, evidence: LayerEvidence, pattern: Pattern, *, damping: float) -> Self:
        """Prepares a layer whose whole second moment is known."""
        view = View.of(evidence.layer, whole_kernels=False)
        order = _order(view, energies(evidence), pattern)
        metric = InputMetric.of(evidence.A, damping=damping, order=order)
        G = pulls(evidence)
        mean = G.mean()
        pull = ((G / mean).clamp_min(LEAST_PULL) if mean > 0 else torch.ones_like(G)).float().sqrt()[:, None, :]
        pull = pull / weight.abs().max().clamp_min(SMALLEST)  # Squares of very small or large weights are no numbers.
        target = metric.arrange(evidence.layer.matrix(weight)) * pull
        alive = energies(evidence).gather(1, order)[:, :, None] > 0
        return cls(weight=weight, view=view, metric=metric, pull=pull, target=target, felt=target * alive)

    @cached_property
    def moment(self) -> Tensor:
        """The metric's, float32 `[groups, inputs, inputs]`."""
        return self.metric.single

    def solved(self, start: Tensor, kept: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
        """Returns the best weight inside a mask, and the mask, both of the weight's shape.

        Args:
            start: scaled and arranged, as is `kept`.
            kept: bool.
            steps: of conjugate gradients.
        """
        found = least_squares(self.target, start, kept, self.moment, steps=steps)
        layer = self.view.layer
        mask = layer.weight(self.metric.restore(kept.to(torch.uint8))).bool()
        # As changes, so that a weight that does not move is still the same number.
        moved = layer.weight(self.metric.restore((found - self.target) / self.pull))
        return torch.where(mask, self.weight + moved, 0.0), mask


def _order(view: View, energy: Tensor, pattern: Pattern) -> Tensor:
    """Returns the inputs, units of columns with the least energy first, a last one that is cut off always last."""
    columns, groups = view.columns, len(energy)
    width = pattern.width(len(columns))
    whole = len(columns) // width
    units = columns[: whole * width].reshape(whole, width)
    first = energy.sum(0)[units].sum(1).argsort(stable=True)
    order = torch.cat([units[first].flatten(), columns[whole * width :]])
    return order.expand(groups, -1).contiguous()
