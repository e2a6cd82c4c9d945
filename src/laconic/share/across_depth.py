"""One tensor for several layers that lie one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from laconic.calibrate import Evidence, LayerEvidence
from laconic.core.codings import Dense
from laconic.core.edit import Edit, Recode, Tie
from laconic.core.errors import ModelError, check_whole, invalid
from laconic.core.sound import check_codable
from laconic.solve import conjugate_gradients


@final
@dataclass(frozen=True, kw_only=True)
class AcrossDepth:
    """Layers of one shape become one tensor, neighbours in depth first where it costs the fewest nats.

    A tensor `W` for several layers is the one that costs them the least together,

        min sum_k 1/2 tr(G_k (W - W_k) A_k (W - W_k)^T):  sum_k G_k W A_k = sum_k G_k W_k A_k,

    solved by conjugate gradients, `G_k` and `A_k` damped so that it goes nowhere that nothing is known of. What is
    joined next is always the pair of neighbours, each a layer or some that are joined already, that pays least for what
    it saves. Layers of one role are neighbours: the queries of one block and those of the next, by names that differ in
    numbers alone; what is the only one of its role may be joined with others like that. Biases and normalisation stay
    each layer's own. Layers of a trained network have seldom much in common, so that this is a start for training on
    rather than an end.

    `laconic.price` lists every lot of layers that is met on the way to one tensor for each role, and `allocate` weighs
    them beside what can be done to single layers.

    Args:
        save: share of the model's parameters that `edits` saves at least, in (0, 1); price lists have every amount.
        steps: of conjugate gradients for each pair.
        damping: added to the diagonals of `G` and `A`, as a share of their means.

    Guarantees:
        Applied, the model has that share of parameters less.

    Reference:
        Dehghani et al. 2019, arXiv:1807.03819, and Lan et al. 2020, arXiv:1909.11942 (layers shared across depth); Liu
        et al. 2024, arXiv:2402.14905 (neighbours).

    Example:
        >>> from laconic.calibrate import calibrate
        >>> from laconic.core.task import Task
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> evidence = calibrate(model, Task(evaluate=[torch.randn(64, 8)]))
        >>> [str(edit) for edit in AcrossDepth(save=0.3).edits(model, evidence)]
        ['0.weight: dense 8 x 8, 256 bytes', '2.weight: the same tensor as 0.weight']
    """

    save: float = 0.2
    steps: int = 50
    damping: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.save < 1:
            raise invalid("share.AcrossDepth.save", self.save, "a fraction in (0, 1)", "To save 20 % write 0.2.")
        check_whole("share.AcrossDepth.steps", self.steps, 0)
        if not self.damping > 0:
            raise invalid("share.AcrossDepth.damping", self.damping, "a positive number")

    def edits(self, model: nn.Module, evidence: Evidence) -> tuple[Edit, ...]:
        """Returns what joins layers: one tensor for each lot, and ties.

        Args:
            model: a trained model; tied weights, weights that act in several ways, and those that nothing reached
                or that no answer depends on stay as they are.
            evidence: of all its layers, with gradients.

        Raises:
            ModelError: no two layers have the same shape and a price, or a weight is not finite.
            UsageError: so much cannot be saved.
        """
        lots = [[_Lot.of(layer) for layer in alike] for alike in _alike(model, evidence, self.damping)]
        if not lots:
            raise ModelError(
                f"share: {type(model).__name__} has no two layers of one shape with prices; expected some to join. "
                "Calibrate with gradients."
            )
        wanted = self.save * sum(parameter.numel() for parameter in model.parameters())
        saved = 0.0
        for joined in self._merging(lots):
            saved += joined.weight.numel()
            if saved >= wanted:
                return tuple(edit for lot in lots for one in lot for edit in one.edits())
        total = sum(parameter.numel() for parameter in model.parameters())
        raise invalid("share.AcrossDepth.save", self.save, f"at most {saved / total:.3g} for this model")

    def joins(self, model: nn.Module, evidence: Evidence) -> tuple[Join, ...]:
        """Returns every lot of layers that is met on the way to one tensor for all that are alike, in that order.

        Args:
            model: as for `edits`.
            evidence: likewise.

        Returns:
            None where no two layers are alike.

        Raises:
            ModelError: a weight is not finite.
        """
        lots = [[_Lot.of(layer) for layer in alike] for alike in _alike(model, evidence, self.damping)]
        return tuple(
            Join(parameters=tuple(layer.seen.layer.parameter for layer in lot.layers), edits=tuple(lot.edits()))
            for lot in self._merging(lots)
        )

    def _merging(self, lots: list[list[_Lot]]) -> Iterator[_Lot]:
        """Joins two neighbours, in place, and yields what they are then; again and again until none are left."""
        offers = [[self._joined(*pair) for pair in pairwise(lot)] for lot in lots]
        while any(offers):
            _, kind, place = min(
                ((offer.nats - one.nats - other.nats) / offer.weight.numel(), kind, place)
                for kind, (lot, joined) in enumerate(zip(lots, offers, strict=True))
                for place, (offer, (one, other)) in enumerate(zip(joined, pairwise(lot), strict=True))
            )
            lot, joined = lots[kind], offers[kind]
            lot[place : place + 2] = [joined.pop(place)]
            for beside in {place - 1, place} & set(range(len(joined))):
                joined[beside] = self._joined(lot[beside], lot[beside + 1])
            yield lot[place]

    def _joined(self, one: _Lot, other: _Lot) -> _Lot:
        """Returns two lots as one, with the tensor that costs them the least."""
        layers = (*one.layers, *other.layers)
        start = torch.stack([layer.matrix for layer in layers]).mean(0)
        right = torch.stack([layer.felt(layer.matrix) for layer in layers]).sum(0)
        weight = conjugate_gradients(
            lambda x: torch.stack([layer.felt(x) for layer in layers]).sum(0),
            right,
            start,
            torch.stack([layer.diagonal for layer in layers]).sum(0),
            steps=self.steps,
        )
        return _Lot(layers, weight)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Join:
    """Layers that could be one tensor.

    Args:
        parameters: their weights, in the order in which they run.
        edits: the tensor, and ties to it.
    """

    parameters: tuple[str, ...]
    edits: tuple[Edit, ...]


@dataclass(frozen=True, eq=False)
class _Priced:
    """A layer with what a change of it costs: float64 matrix, and damped second moments or their diagonals."""

    seen: LayerEvidence
    matrix: Tensor
    inputs: Tensor
    pulls: Tensor

    def felt(self, change: Tensor) -> Tensor:
        """`G W A`."""
        A, G = self.inputs, self.pulls
        passed = change @ A if A.dim() == 3 else change * A[:, None, :]
        return G @ passed if G.dim() == 3 else G[:, :, None] * passed

    @property
    def diagonal(self) -> Tensor:
        """Of the map `felt`, of the matrix's shape."""
        A, G = (m if m.dim() == 2 else m.diagonal(dim1=1, dim2=2) for m in (self.inputs, self.pulls))
        return G[:, :, None] * A[:, None, :]


@dataclass(frozen=True, eq=False)
class _Lot:
    """Layers that share a matrix."""

    layers: tuple[_Priced, ...]
    weight: Tensor

    @classmethod
    def of(cls, layer: _Priced) -> _Lot:
        return cls((layer,), layer.matrix)

    @property
    def nats(self) -> float:
        """What the shared matrix costs all layers together."""
        changes = ((layer, self.weight - layer.matrix) for layer in self.layers)
        return 0.5 * sum(float((layer.felt(change) * change).sum()) for layer, change in changes)

    def edits(self) -> Iterator[Edit]:
        if len(self.layers) == 1:
            return
        first = self.layers[0].seen.layer
        yield Recode(first.parameter, Dense.of(first.weight(self.weight)))
        for layer in self.layers[1:]:
            yield Tie(layer.seen.layer.parameter, first.parameter)


def _alike(model: nn.Module, evidence: Evidence, damping: float) -> list[list[_Priced]]:
    """Returns layers that may share a tensor, in the order in which they run."""
    tensors = dict(model.named_parameters())
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    uses = [use.layer.parameter for use in evidence.uses]
    alike: dict[tuple[object, ...], dict[str, list[_Priced]]] = {}
    for name, seen in evidence.layers.items():
        weight, layer = tensors.get(name), seen.layer
        if weight is None or owners[id(weight)] > 1 or uses.count(name) > 1 or layer.kind == "embedding":
            continue
        if seen.gradient_sum is None or not bool(seen.A.any()) or not bool(seen.G.any()):
            continue
        check_codable(weight, name)
        roles = alike.setdefault((layer.kind, layer.shape, layer.groups, layer.transposed), {})
        matrix = layer.matrix(weight.detach().cpu().double())
        priced = _Priced(seen, matrix, _damped(seen.A, damping), _damped(seen.G, damping))
        roles.setdefault(re.sub(r"\d+", "*", name), []).append(priced)
    lots = [lot for roles in alike.values() for lot in _lots(roles.values())]
    return [lot for lot in lots if len(lot) > 1 and lot[0].matrix.numel() > 0]


def _lots(roles: Iterable[list[_Priced]]) -> list[list[_Priced]]:
    """Returns layers role by role, those that are the only ones of theirs together."""
    roles = list(roles)
    return [*(role for role in roles if len(role) > 1), [role[0] for role in roles if len(role) == 1]]


def _damped(moment: Tensor, damping: float) -> Tensor:
    """Returns a second moment, or its diagonal, with a share of its mean added to the diagonal."""
    damped = moment.clone()
    diagonal = damped if moment.dim() == 2 else damped.diagonal(dim1=1, dim2=2)
    diagonal.add_(damping * diagonal.mean())
    return damped
