"""What remains takes over the work of what is gone: weights, biases and statistics, one operator after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from laconic.calibrate.patches import padded, patches
from laconic.graph.axes import Axes, Axis
from laconic.graph.cutting import copy_of, cut, shrink
from laconic.graph.operators import arguments, name_of
from laconic.prune.lockstep import Place, Run

LAYERS = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
ENOUGH = 200
"""Positions for each input of a layer: fitting to so many adds half a percent to the error."""
TINY = 1e-30
Batches = Sequence[tuple[Sequence[Any], Mapping[str, Any]]]


@dataclass
class Sums:
    """Sums over positions of a layer's inputs `x` and wanted outputs `y`, float64.

    Args:
        joint: sum of `z z^T` with `z` the inputs and a one at the end, `[groups, inputs + 1, inputs + 1]`.
        wanted: sum of `y z^T`, `[groups, outputs, inputs + 1]`.
    """

    joint: Tensor
    wanted: Tensor

    @classmethod
    def like(cls, weight: Tensor) -> Sums:
        """Returns sums of nothing for a weight `[groups, outputs, inputs]`."""
        groups, outputs, inputs = weight.shape
        return cls(
            joint=weight.new_zeros(groups, inputs + 1, inputs + 1, dtype=torch.float64),
            wanted=weight.new_zeros(groups, outputs, inputs + 1, dtype=torch.float64),
        )

    def add(self, x: Tensor, y: Tensor) -> None:
        """Adds positions: `x [groups, positions, inputs]`, `y [groups, positions, outputs]`."""
        z = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        self.joint += (z.mT @ z).double()
        self.wanted += (y.mT @ z).double()

    def solve(self, weight: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Returns the weight and bias of the least squared error, drawn to a weight where the inputs do not say.

        With centred moments `A = cov(x, x)` and `C = cov(y, x)`, `W' = W + (C - W A) (A + damping mean(diag A) I)^-1`,
        `b' = mean(y) - W' mean(x)`.

        Args:
            weight: `[groups, outputs, inputs]`, float64.
            damping: not negative.
        """
        joint, wanted = self.joint / self.joint[:, -1:, -1:], self.wanted / self.joint[:, -1:, -1:]
        x, y = joint[:, -1:, :-1], wanted[..., -1:]
        A, C = joint[:, :-1, :-1] - x.mT @ x, wanted[..., :-1] - y @ x
        scale = A.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(TINY)
        damped = A + damping * scale[:, None, None] * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        missing = (C - weight @ A).mT
        change, failed = torch.linalg.solve_ex(damped, missing)
        if bool(failed.any()) or not bool(change.isfinite().all()):  # Inputs that depend on each other, undamped.
            change = torch.linalg.pinv(damped, hermitian=True) @ missing
        solved = weight + change.mT
        return solved, (y - solved @ x.mT)[..., 0]


def refit(
    axes: Axes, keep: Mapping[Axis, Tensor], batches: Batches, *, damping: float = 1e-3, weights: bool = True
) -> dict[str, Tensor]:
    """Returns new values for the cut model, by name: of weights, of biases, and of batch-norm statistics.

    The original and the cut model run side by side. Each linear layer and convolution of the cut model is fitted, in
    the order of execution, to the outputs that the original has there, given the inputs that the cut model has by then:
    a layer also mends what the layers before it left. Each batch normalisation takes the statistics of its new inputs.
    Parameters that are used twice keep their values.

    Args:
        axes: the analysis of the original.
        keep: the kept indices of each axis that is cut.
        batches: calibration inputs; all activations between two layers are in memory at once.
        damping: pulls weights to where the cut left them, in units of the mean variance of a layer's inputs.
        weights: False: only batch-norm statistics.

    Guarantees:
        Without damping, no other weight and bias have a smaller squared error at the layer's output.

    Reference:
        He, Zhang and Sun 2017, arXiv:1707.06168, equation 5 (reconstruction from the inputs of the pruned model).
    """
    masks = axes.masks(keep)
    whole, smaller = Run(copy_of(axes), batches), Run(cut(axes, keep), batches)
    captured = {node.name: node for node in axes.graph.nodes}
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, node in whole.nodes.items():
            other = smaller.nodes[name]
            whole.step(node)
            if weights and name_of(other) in LAYERS:
                dims = axes.resolved.dims[captured[name]]
                wanted = [shrink(value, dims, masks) for value in whole.values(node)] if isinstance(dims, tuple) else []
                found |= _layer(smaller, other, wanted, damping)
            elif name_of(other) == "batch_norm":
                found |= _statistics(smaller, other)
            smaller.step(other)
            whole.forget(node)
            smaller.forget(other)
    return found


def _layer(run: Run, node: Node, wanted: list[Tensor], damping: float) -> dict[str, Tensor]:
    given = arguments(node)
    weight, bias = run.place(given["weight"]), run.place(given.get("bias"))
    if weight is None or not wanted or (bias is None and given.get("bias") is not None):
        return {}
    matrix = weight.tensor.reshape(given.get("groups", 1), -1, weight.tensor[0].numel()).double()
    sums = Sums.like(matrix)
    stride = max(1, sum(y.numel() for y in wanted) // len(weight.tensor) // (ENOUGH * matrix.shape[2]))
    for x, y in zip(run.values(given["input"]), wanted, strict=True):
        for inputs, outputs in _positions(given, x, y, weight.tensor):
            sums.add(inputs[:, ::stride], outputs[:, ::stride])
    solved, offset = sums.solve(matrix, damping)
    found = _put(weight, solved.reshape(weight.tensor.shape))
    return found if bias is None else found | _put(bias, offset.flatten())


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


def _statistics(run: Run, node: Node) -> dict[str, Tensor]:
    given = arguments(node)
    mean, variance = run.place(given["running_mean"]), run.place(given["running_var"])
    if mean is None or variance is None:
        return {}
    values = torch.cat([x.transpose(0, 1).flatten(1) for x in run.values(given["input"])], 1)
    return _put(mean, values.mean(1)) | _put(variance, values.var(1, correction=0))


def _put(place: Place, value: Tensor) -> dict[str, Tensor]:
    """Changes a tensor in place, if the new values are finite, and returns them by name."""
    value = value.to(place.tensor.dtype)
    if not bool(value.isfinite().all()):
        return {}
    place.tensor.copy_(value)
    return {place.name: value}
