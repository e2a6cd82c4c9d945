"""Projection input by input, or vector by vector of inputs, with the error of each passed on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from laconic.solve.blockwise import Feedback, ahead_by, around_by
from laconic.solve.metric import InputMetric

# (wanted values [groups, outputs], place of their input in the metric's order) -> nearest values of the set
Rule = Callable[[Tensor, int], Tensor]
# (wanted values [groups, width, outputs], place of their first input, pull [groups, width, width]) -> nearest values
# in the sense of |pull^T (wanted - value)|^2
VectorRule = Callable[[Tensor, int, Tensor], Tensor]
_Step = Callable[[Tensor, int], Tensor]  # likewise, [groups, width, outputs]

BLOCK, FEW = 128, 16  # Errors are passed on one by one among a few inputs, by matrix products in a block and beyond.


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
    return _sweep(weight, weight.clone(), metric.ahead, _one(rule), 1, causal=True)


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
        projected = _sweep(weight, projected, metric.around, _one(rule), 1, causal=False)
    return projected


def compensate_vectors(weight: Tensor, metric: InputMetric, rule: VectorRule, *, width: int) -> Tensor:
    """Does what `compensate` does with `width` inputs at a time, which are projected together.

    Args:
        weight: as there; the metric's order keeps the inputs of a vector together.
        metric: of the layer.
        rule: the projection of vectors. Nearest in the sense of its `pull` is what costs least once all later inputs
            made up for it.
        width: inputs of a vector; divides their number.

    Reference:
        van Baalen et al. 2024, arXiv:2402.15319 (GPTVQ).
    """
    feedback = ahead_by(metric, width)
    return _sweep(weight, weight.clone(), feedback.passed, _many(rule, feedback, width), width, causal=True)


def refine_vectors(weight: Tensor, start: Tensor, metric: InputMetric, rule: VectorRule, *, width: int) -> Tensor:
    """Does what `refine` does, once, with `width` inputs at a time."""
    feedback = around_by(metric, width)
    return _sweep(weight, start.clone(), feedback.passed, _many(rule, feedback, width), width, causal=False)


def _one(rule: Rule) -> _Step:
    return lambda wanted, place: rule(wanted[:, 0], place)[:, None]


def _many(rule: VectorRule, feedback: Feedback, width: int) -> _Step:
    return lambda wanted, place: rule(wanted, place, feedback.pull[:, place // width])


def _sweep(weight: Tensor, projected: Tensor, feedback: Tensor, step: _Step, width: int, *, causal: bool) -> Tensor:
    """Projects `weight + errors @ feedback` in place; causal feedback knows of earlier inputs only."""
    error = weight - projected
    inputs, block = weight.shape[1], max(BLOCK // width, 1) * width
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        known = slice(0, start if causal else inputs)
        wanted = torch.baddbmm(weight[:, start:stop], feedback[:, known, start:stop].mT, error[:, known])
        _project(weight, projected, error, feedback, step, wanted, slice(start, stop), width)
    return projected


def _project(
    weight: Tensor,
    projected: Tensor,
    error: Tensor,
    feedback: Tensor,
    step: _Step,
    wanted: Tensor,
    inputs: slice,
    width: int,
) -> None:
    """Projects some inputs; `wanted` has what all others, and these as they were, ask of them."""
    small = max(FEW // width, 1) * width
    for start in range(inputs.start, inputs.stop, small):
        stop = min(start + small, inputs.stop)
        before = error[:, start:stop].clone()
        for first in range(start, stop, width):
            last = first + width
            place = first - inputs.start
            chosen = projected[:, first:last] = step(wanted[:, place : place + width], first)
            fresh = torch.sub(weight[:, first:last], chosen, out=error[:, first:last])
            if last < stop:
                moved = fresh - before[:, first - start : last - start]
                later = wanted[:, place + width : stop - inputs.start]
                later.baddbmm_(feedback[:, first:last, last:stop].mT, moved)
        if stop < inputs.stop:
            moved = error[:, start:stop] - before
            wanted[:, stop - inputs.start :].baddbmm_(feedback[:, start:stop, stop : inputs.stop].mT, moved)
