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
from laconic.prune.importance.removal import Importance, Known, Need, Removal
from laconic.prune.importance.slices import owners, per_index


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


class _Reader:
    """One group of a layer that reads an axis: `columns [size, k]` of its inputs belong to each index."""

    def __init__(self, pulled: Tensor, inverse: Tensor, columns: Tensor) -> None:
        self._pulled = pulled  # [outputs, inputs]; its squares are nats: the weight times the root of G.
        self._inverse = inverse  # [inputs, inputs]; of A among the inputs that are still there.
        self._columns = columns

    def prices(self) -> Tensor:
        """Returns what it costs to lose each index now, `[size]`."""
        blocks = self._inverse[self._columns[:, :, None], self._columns[:, None, :]]
        weights = self._pulled[:, self._columns].permute(1, 2, 0)
        lost: Tensor = weights * torch.linalg.solve(blocks, weights)
        return 0.5 * lost.sum((1, 2))

    def remove(self, index: int) -> None:
        """Lets the remaining columns absorb those of an index."""
        columns = self._columns[index]
        across = self._inverse[columns]
        spread = torch.linalg.solve(across[:, columns], across)
        self._pulled = self._pulled - self._pulled[:, columns] @ spread
        self._inverse = self._inverse - across.mT @ spread
        # Gone columns are decoupled and cost nothing more; the caller does not ask for them again.
        self._inverse[columns, columns] = 1


def _one_by_one(size: int, readers: list[_Reader]) -> Removal:
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


def _readers(axis: Axis, part: AxisSlice, use: LayerEvidence, weight: Tensor, damping: float) -> Iterator[_Reader]:
    owner = _input_owners(axis, part, use.layer)
    pulled = _curvature_root(use) @ use.layer.matrix(weight.detach().cpu().double())
    for group in range(len(pulled)):
        belongs = owner[group]
        counts = torch.bincount(belongs[belongs >= 0], minlength=axis.size)
        # A group that a single index fills disappears with its outputs: what is lost shows at the next layer.
        if int(counts.count_nonzero()) == axis.size and len(set(counts.tolist())) == 1 and axis.size > 1:
            moment = use.A[group]
            moment = torch.diag(moment) if moment.dim() == 1 else moment
            columns = belongs.argsort(stable=True)[int((belongs < 0).sum()) :].reshape(axis.size, -1)
            yield _Reader(pulled[group], _inverse(moment, damping), columns)


def _inverse(moment: Tensor, damping: float) -> Tensor:
    mean = moment.diagonal().mean().clamp_min(torch.finfo(moment.dtype).tiny)
    inverse: Tensor = torch.linalg.inv(moment + damping * mean * torch.eye(len(moment), dtype=moment.dtype))
    return inverse


def _curvature_root(use: LayerEvidence) -> Tensor:
    """Returns `R` with `R^T R = G`, `[groups, outputs, outputs]`; the identity without gradients."""
    if use.gradient_sum is None:
        groups, outputs, _ = use.layer.matrix_shape
        return torch.eye(outputs, dtype=torch.float64).expand(groups, outputs, outputs)
    curvature = use.G if use.G.dim() == 3 else use.G.diag_embed()
    values, vectors = torch.linalg.eigh(curvature)
    root: Tensor = values.clamp_min(0).sqrt()[..., :, None] * vectors.mT
    return root


def _of_outputs(axis: Axis, part: AxisSlice, use: LayerEvidence, weight: Tensor) -> Tensor:
    """Returns the nats lost when the layer's own rows are zeroed, each by itself."""
    matrix = use.layer.matrix(weight.detach().cpu().double())
    passed = matrix @ use.A if use.A.dim() == 3 else matrix * use.A[:, None, :]
    pulled = _curvature_root(use).square().sum(-2)[..., None] * matrix
    return per_index(axis, 0.5 * use.layer.weight(pulled * passed), part)


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
