"""The default criterion: what is lost after the remaining weights have absorbed all they can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.errors import UsageError, invalid
from laconic.graph.axes import Axis, AxisSlice
from laconic.prune.importance.elimination import Elimination, Uncoupled
from laconic.prune.importance.removal import Importance, Known, Need, Removal
from laconic.prune.importance.slices import owners, per_index

Reader = Elimination | Uncoupled


@final
@dataclass(frozen=True, kw_only=True)
class Compensated(Importance):
    """The predicted nats after least-squares compensation.

    When inputs of a layer disappear, its remaining weights become `W' = W A[:,K] A[K,K]^-1`, which absorbs what can be
    predicted from the kept inputs K; what is lost is `1/2 tr(G W (A - A[:,K] A[K,K]^-1 A[K,:]) W^T)`. Indices go one by
    one, each time the one that costs least given those already gone, summed over all layers that read the axis.

    Args:
        damping: added to the diagonal of `A`, in units of its mean.

    Guarantees:
        A price is the increase of the loss by the formula above, up to damping and rounding.

    Reference:
        Hassibi and Stork 1992, optimal brain surgeon, equation 5; here with blocks of columns and the Kronecker
        curvature of Martens and Grosse 2015, arXiv:1503.05671.
    """

    needs: ClassVar[Need | None] = "evidence"
    damping: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.damping < float("inf"):
            raise invalid("prune.Compensated.damping", self.damping, "a positive number")

    def removal(self, axis: Axis, known: Known) -> Removal:
        """Returns the order in which an axis' indices go, at prices in nats per prediction."""
        if known.evidence is None:
            raise UsageError("prune.Compensated: needs evidence. Pass a Task, or evidence=calibrate(model, task).")
        uses = [
            (use, part) for use in known.evidence.uses for part in axis.slices if part.tensor == use.layer.parameter
        ]
        readers = [
            reader
            for use, part in uses
            if part.dim == _input_dim(use.layer)
            for reader in _readers(axis, part, use, known.tensors[part.tensor], self.damping)
        ]
        if readers:
            return _one_by_one(axis.size, readers)
        outputs = [_of_outputs(axis, part, use, known.tensors[part.tensor]) for use, part in uses]
        return Removal.by(torch.stack(outputs).sum(0) if outputs else torch.full((axis.size,), torch.inf))


def _one_by_one(size: int, readers: list[Reader]) -> Removal:
    order, price = [], []
    left = torch.ones(size, dtype=torch.bool)
    for _ in range(size):
        prices = sum((reader.prices() for reader in readers), torch.zeros(size, dtype=torch.float64))
        index = int(torch.where(left, prices, torch.inf).argmin())
        order.append(index)
        price.append(max(0.0, float(prices[index])))
        left[index] = False
        for reader in readers:
            reader.remove(index)
    return Removal(order=torch.tensor(order), price=torch.tensor(price, dtype=torch.float64))


def _readers(axis: Axis, part: AxisSlice, use: LayerEvidence, weight: Tensor, damping: float) -> Iterator[Reader]:
    owner = _input_owners(axis, part, use.layer)
    matrix = use.layer.matrix(weight.detach().cpu().double())
    for group in range(len(matrix)):
        belongs = owner[group]
        counts = torch.bincount(belongs[belongs >= 0], minlength=axis.size)
        # A group that a single index fills disappears with its outputs: what is lost shows at the next layer.
        if int(counts.count_nonzero()) == axis.size and len(set(counts.tolist())) == 1 and axis.size > 1:
            columns = belongs.argsort(stable=True)[int((belongs < 0).sum()) :]
            yield _reader(use, matrix[group][:, columns], group, columns, axis.size, damping)


def _reader(use: LayerEvidence, weight: Tensor, group: int, columns: Tensor, size: int, damping: float) -> Reader:
    """Returns one group of a layer that reads an axis; `weight [outputs, columns]` in the order of the axis."""
    moment, pulled = use.A[group], _pull(use, weight, group)
    if moment.dim() == 1:
        return Uncoupled(0.5 * (moment[columns] * (pulled * weight).sum(0)).reshape(size, -1).sum(1))
    inverse = _inverse(moment, damping)[columns][:, columns]
    return Elimination(inverse, weight.mT @ pulled, size)


def _inverse(moment: Tensor, damping: float) -> Tensor:
    mean = moment.diagonal().mean().clamp_min(torch.finfo(moment.dtype).tiny)
    damped = moment + damping * mean * torch.eye(len(moment), dtype=moment.dtype)
    factor, failed = torch.linalg.cholesky_ex(damped)
    return torch.linalg.inv(damped) if bool(failed) else torch.cholesky_inverse(factor)


def _pull(use: LayerEvidence, matrix: Tensor, group: int) -> Tensor:
    """Returns `G W` of one group; `W` itself without gradients."""
    if use.gradient_sum is None:
        return matrix
    curvature = use.G[group]
    return curvature @ matrix if curvature.dim() == 2 else curvature[:, None] * matrix


def _of_outputs(axis: Axis, part: AxisSlice, use: LayerEvidence, weight: Tensor) -> Tensor:
    """Returns the nats lost when the layer's own rows are zeroed, each by itself."""
    matrix = use.layer.matrix(weight.detach().cpu().double())
    passed = matrix @ use.A if use.A.dim() == 3 else matrix * use.A[:, None, :]
    nats = 0.5 * matrix * passed
    if use.gradient_sum is not None:
        curvature = use.G.diagonal(dim1=-2, dim2=-1) if use.G.dim() == 3 else use.G
        nats = nats * curvature[..., None]
    return per_index(axis, use.layer.weight(nats), part)


def _input_owners(axis: Axis, part: AxisSlice, layer: Layer) -> Tensor:
    """Returns which index of the axis each input column belongs to, `[groups, inputs]`."""
    shape = [1] * len(layer.shape)
    shape[part.dim] = -1
    spread = owners(part.expr, axis.atom).reshape(shape).expand(layer.shape)
    return layer.matrix(spread)[:, 0, :]


def _input_dim(layer: Layer) -> int:
    if layer.kind == "linear":
        return len(layer.shape) - (2 if layer.transposed else 1)
    return 1 if layer.kind == "conv" else 0
