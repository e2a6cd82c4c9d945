"""Projection input by input, with the error of each passed on."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from laconic.solve.metric import InputMetric

# (wanted values [groups, outputs], place of their input in the metric's order) -> nearest values of the set
Rule = Callable[[Tensor, int], Tensor]

BLOCK = 64  # Inputs between which errors are passed on one by one; all others get theirs by matrix products.


def compensate(weight: Tensor, metric: InputMetric, rule: Rule) -> Tensor:
    """Projects every input's weights in turn; the inputs still to come make up for the error as well as they can.

    Args:
        weight: float32 `[groups, inputs, outputs]`, arranged by the metric.
        metric: of the layer.
        rule: the projection.

    Returns:
        What the rule returned, arranged.

    Guarantees:
        With a diagonal metric, and for a weight that the rule leaves as it is, this is the rule alone.

    Reference:
        Hassibi and Stork 1992; Frantar and Alistarh 2022, arXiv:2208.11580; Frantar et al. 2022, arXiv:2210.17323.
    """
    return _sweep(weight, weight.clone(), metric.ahead, rule, causal=True)


def refine(weight: Tensor, start: Tensor, metric: InputMetric, rule: Rule, *, sweeps: int = 1) -> Tensor:
    """Projects every input's weights anew, all others as they are: coordinate descent.

    Args:
        weight: float32 `[groups, inputs, outputs]`, arranged by the metric.
        start: values of the set, likewise.
        metric: of the layer.
        rule: the projection onto the nearest values.
        sweeps: rounds over all inputs.

    Guarantees:
        No output's error grows, up to rounding.
    """
    projected = start.clone()
    for _ in range(sweeps):
        projected = _sweep(weight, projected, metric.around, rule, causal=False)
    return projected


def _sweep(weight: Tensor, projected: Tensor, feedback: Tensor, rule: Rule, *, causal: bool) -> Tensor:
    """Projects `weight + errors @ feedback` in place; causal feedback knows of earlier inputs only."""
    error = weight - projected
    inputs = weight.shape[1]
    for start in range(0, inputs, BLOCK):
        stop = min(start + BLOCK, inputs)
        known = slice(0, start if causal else inputs)
        wanted = weight[:, start:stop] + feedback[:, known, start:stop].mT @ error[:, known]
        inside = feedback[:, start:stop, start:stop, None]
        for place in range(start, stop):
            row = place - start
            projected[:, place] = rule(wanted[:, row], place)
            fresh = weight[:, place] - projected[:, place]
            wanted += inside[:, row] * (fresh - error[:, place])[:, None]
            error[:, place] = fresh
    return projected
