"""What remains takes over the work of what is gone: weights, biases and statistics, one operator after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from laconic.calibrate.patches import padded, patches
from laconic.graph.axes import Axes, Axis
from laconic.graph.cutting import copy_of, cut, shrink
from laconic.graph.operators import arguments, name_of
from laconic.prune.branch import Branch, branch
from laconic.prune.lockstep import Place, Run
from laconic.prune.sums import Sums, best_damping

LAYERS = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
ENOUGH = 200
"""Positions for each input of a layer: fitting to so many adds half a percent to the error."""
TINY = 1e-30
HELD_BACK = 4
"""Every so many samples, one does not serve to fit, but to see how far the others can be trusted."""
UNTESTED = 1e-3
"""The damping where there are too few samples to hold some back."""
STEEPEST = 10.0
FAINT = 1e-6
Batches = Sequence[tuple[Sequence[Any], Mapping[str, Any]]]


def refit(
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    batches: Batches,
    *,
    damping: float | None = None,
    weights: bool = True,
    shorter: GraphModule | None = None,
) -> dict[str, Tensor]:
    """Returns new values for the cut model, by name: of weights, of biases, and of batch-norm statistics.

    The original and the cut model run side by side. Each linear layer and convolution of the cut model is fitted, in
    the order of execution, to the outputs that the original has there, given the inputs that the cut model has by then:
    a layer also mends what the layers before it left. Where its result is added to another branch that is there
    already, it is fitted to the original's sum, so that errors do not pile up along residual streams. A constant goes
    into the bias, or into the mean of the batch normalisation that follows. Parameters that are used twice keep their
    values.

    Args:
        axes: the analysis of the original.
        keep: the kept indices of each axis that is cut.
        batches: calibration inputs; all activations between two layers are in memory at once.
        damping: pulls weights to where the cut left them, in units of the mean variance of a layer's inputs. None: for
            each layer what serves best on a quarter of the samples, held back.
        weights: False: only batch-norm statistics, which become those of their new inputs.
        shorter: what is fitted instead of the cut model: one without some blocks, whose nodes keep their names; `keep`
            is empty then.

    Guarantees:
        Without damping, no other weight and bias have a smaller squared error at the layer's output.

    Reference:
        He, Zhang and Sun 2017, arXiv:1707.06168, equation 5 (reconstruction from the inputs of the pruned model) and
        section 3.2 (the error of the shortcut made up for in the other branch).
    """
    pair = _Pair(axes, keep, shorter or cut(axes, keep), batches, damping)
    with torch.no_grad():
        for name, node in pair.whole.nodes.items():
            pair.whole.step(node)
            other = pair.smaller.nodes.get(name)
            if other is None:
                pair.whole.forget(node)
                continue
            if weights and name_of(other) in LAYERS:
                pair.fit_layer(other)
            elif weights and name_of(other) == "batch_norm":
                pair.fit_norm(other)
            elif name_of(other) == "batch_norm":
                pair.restate(other)
            pair.smaller.step(other)
            pair.whole.forget(node)
            pair.smaller.forget(other)
    return pair.found


class _Pair:
    """The original and the cut model, side by side."""

    def __init__(
        self,
        axes: Axes,
        keep: Mapping[Axis, Tensor],
        smaller: GraphModule,
        batches: Batches,
        damping: float | None,
    ) -> None:
        self._axes, self._masks, self._damping = axes, axes.masks(keep), damping
        self._captured = {node.name: node for node in axes.graph.nodes}
        self._settled: set[Node] = set()
        self.whole, self.smaller = Run(copy_of(axes), batches), Run(smaller, batches)
        self.found: dict[str, Tensor] = {}

    def fit_layer(self, node: Node) -> None:
        """Fits one layer of the cut model, which has not run yet."""
        given = arguments(node)
        weight, bias, next_to = self.smaller.place(given["weight"]), given.get("bias"), branch(node)
        held = self.smaller.place(bias)
        wanted = self._wanted(node, next_to)
        if weight is None or not wanted or (held is None and bias is not None):
            return
        mean = None if next_to.norm is None else self.smaller.place(arguments(next_to.norm)["running_mean"])
        constant = bias is not None or mean is not None
        matrix = weight.tensor.reshape(given.get("groups", 1), -1, weight.tensor[0].numel()).double()
        solved, offset = self._fitted(given, weight.tensor, matrix, wanted, constant=constant)
        self._put(weight, solved.reshape(weight.tensor.shape))
        if held is not None:
            self._put(held, offset.flatten())
        elif mean is not None:
            self._put(mean, mean.tensor.double() - offset.flatten())
        if next_to.norm is not None and constant:
            self._settled.add(next_to.norm)

    def fit_norm(self, node: Node) -> None:
        """Gives a normalisation the statistics with which its outputs are nearest to the original's."""
        given, before = arguments(node), self._original(arguments(node)["input"])
        mean, variance = self.smaller.place(given["running_mean"]), self.smaller.place(given["running_var"])
        if node in self._settled or mean is None or variance is None or not before:
            return
        x, y = (_channels(values) for values in (self.smaller.values(given["input"]), before))
        spread = x.var(1, correction=0)
        covariance = ((x - x.mean(1, keepdim=True)) * (y - y.mean(1, keepdim=True))).mean(1)
        slope = torch.where(spread > 0, covariance / spread.clamp_min(TINY), 1).clamp(1 / STEEPEST, STEEPEST)
        old = mean.tensor.double(), variance.tensor.double() + given["eps"]
        self._put(mean, x.mean(1) - (y.mean(1) - old[0]) / slope)
        self._put(variance, old[1] / slope.square() - given["eps"])

    def restate(self, node: Node) -> None:
        """Gives a normalisation the statistics of its inputs."""
        given = arguments(node)
        mean, variance = self.smaller.place(given["running_mean"]), self.smaller.place(given["running_var"])
        if mean is not None and variance is not None:
            values = _channels(self.smaller.values(given["input"]))
            self._put(mean, values.mean(1))
            self._put(variance, values.var(1, correction=0))

    def _original(self, node: Node) -> list[Tensor]:
        """Returns what the original has at a node of the cut model, without what is cut; nothing if that is unknown."""
        dims = self._axes.resolved.dims.get(self._captured[node.name])
        if not isinstance(dims, tuple):
            return []
        return [shrink(value, dims, self._masks) for value in self.whole.values(self.whole.nodes[node.name])]

    def _wanted(self, node: Node, next_to: Branch) -> list[Tensor]:
        """Returns a layer's outputs in the original, corrected by what the other branch lacks by now."""
        wanted = self._original(node)
        if next_to.other is None or not self.smaller.has(next_to.other):
            return wanted
        there, now = self._original(next_to.other), self.smaller.values(next_to.other)
        if [y.shape for y in wanted] != [x.shape for x in now] or not there:
            return wanted
        scale = _scale(self.smaller, next_to.norm, wanted[0].dim()) if next_to.norm is not None else 1
        return [y + (x - z) / scale for y, x, z in zip(wanted, there, now, strict=True)]

    def _fitted(
        self, given: Mapping[str, Any], weight: Tensor, matrix: Tensor, wanted: list[Tensor], *, constant: bool
    ) -> tuple[Tensor, Tensor]:
        learnt, held = Sums.like(matrix), Sums.like(matrix)
        stride = max(1, sum(y.numel() for y in wanted) // len(weight) // (ENOUGH * matrix.shape[2]))
        count = 0
        for x, y in zip(self.smaller.values(given["input"]), wanted, strict=True):
            back = (torch.arange(count, count + len(x), device=x.device) + 1) % HELD_BACK == 0
            count += len(x)
            for sums, some in ((learnt, ~back), (held, back)):
                for inputs, outputs in _positions(given, x[some], y[some], weight) if bool(some.any()) else ():
                    sums.add(inputs[:, ::stride], outputs[:, ::stride])
        damping = self._damping
        if damping is None:
            damping = best_damping(learnt, held, matrix, constant=constant) if count >= HELD_BACK else UNTESTED
        return (learnt + held).solve(matrix, damping, constant=constant)

    def _put(self, place: Place, value: Tensor) -> None:
        """Changes a tensor in place and notes it by name, if the new values are finite."""
        value = value.to(place.tensor.dtype)
        if bool(value.isfinite().all()):
            place.tensor.copy_(value)
            self.found[place.name] = value


def _positions(given: Mapping[str, Any], x: Tensor, y: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields `[groups, positions, inputs]` and `[groups, positions, outputs]`, piece by piece."""
    if "groups" not in given:
        yield x.reshape(1, -1, x.shape[-1]), y.reshape(1, -1, y.shape[-1])
        return
    rank = weight.dim() - 2
    padding, stride, dilation = (_each(given[name], rank) for name in ("padding", "stride", "dilation"))
    outputs = y.reshape(len(y), given["groups"], -1, *y.shape[2:]).flatten(3).permute(1, 0, 3, 2).flatten(1, 2)
    start = 0
    for inputs in patches(padded(x, padding), weight.shape[2:], stride, dilation, given["groups"]):
        yield inputs, outputs[:, start : start + inputs.shape[1]]
        start += inputs.shape[1]


def _each(value: Any, rank: int) -> list[int]:
    """Returns a setting of a convolution for every dimension of space."""
    listed = [value] if isinstance(value, int) else list(value)
    return listed * rank if len(listed) == 1 else listed


def _channels(values: list[Tensor]) -> Tensor:
    """Returns `[channels, positions]`, float64."""
    return torch.cat([x.transpose(0, 1).flatten(1) for x in values], 1).double()


def _scale(run: Run, norm: Node, dims: int) -> Tensor:
    """Returns what a normalisation multiplies its channels by; infinite where that is next to nothing."""
    given = arguments(norm)
    variance, gain = run.constant(given["running_var"]), run.constant(given["weight"])
    scale = (variance + given["eps"]).rsqrt() * (1 if gain is None else gain)
    return torch.where(scale.abs() > FAINT * scale.abs().max(), scale, torch.inf).reshape(-1, *[1] * (dims - 2))
