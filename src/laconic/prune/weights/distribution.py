"""How the zeros of a model are shared out among its layers."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.calibrate.view import View
from laconic.core.errors import invalid
from laconic.prune.weights.magnitude import SmallestWeights
from laconic.prune.weights.patterns import BlockPattern
from laconic.prune.weights.technique import Sparsification

MOST = 0.99  # No layer loses more than this, whatever its scores say: a model is no longer what its statistics were.


class Subject(NamedTuple):
    """A layer's weight and what is known of it."""

    weight: Tensor
    layer: Layer
    evidence: LayerEvidence | None


class Distribution(ABC):
    """Chooses each layer's sparsity so that all together meet one. Configs are frozen and final.

    Guarantees:
        Sparsities are in [0, 0.99], or the whole model's where that is higher; weighed by the layers' sizes their mean
        is the one asked for.
    """

    @abstractmethod
    def sparsities(self, subjects: Mapping[str, Subject], technique: Sparsification) -> dict[str, float]:
        """Returns the sparsity of each layer.

        Args:
            subjects: the layers by parameter.
            technique: its sparsity is the whole model's.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Uniform(Distribution):
    """The same share in every layer."""

    def sparsities(self, subjects: Mapping[str, Subject], technique: Sparsification) -> dict[str, float]:
        """Returns the technique's own."""
        return dict.fromkeys(subjects, technique.sparsity)


@final
@dataclass(frozen=True, kw_only=True)
class GlobalScore(Distribution):
    """The least scores of the whole model go: one threshold for all layers.

    It is as good as the technique's scores are across layers: nats compare, magnitudes less so. A layer that nothing
    reached has no score that compares with those of others; it gets the whole model's sparsity.
    """

    def sparsities(self, subjects: Mapping[str, Subject], technique: Sparsification) -> dict[str, float]:
        """Returns the share of each layer's scores below the threshold."""
        known = {name: s for name, s in subjects.items() if s.evidence is not None}
        if not known or isinstance(technique, SmallestWeights):
            known = dict(subjects)
        return dict.fromkeys(subjects, technique.sparsity) | self._below(known, technique)

    def _below(self, subjects: Mapping[str, Subject], technique: Sparsification) -> dict[str, float]:
        scores = {name: _means(technique, subject) for name, subject in subjects.items()}
        largest = max(technique.sparsity, MOST)
        able = {name: _least(s, largest) for name, s in scores.items()}
        wanted = round(technique.sparsity * sum(s.numel() for s in scores.values()))
        ordered = torch.cat(list(able.values())).sort().values
        if wanted == 0:
            return dict.fromkeys(subjects, 0.0)
        threshold = ordered[min(wanted, len(ordered)) - 1]
        # Of equal scores only as many go as are needed, the first layers' first.
        gone = {name: int((s < threshold).sum()) for name, s in able.items()}
        spare = wanted - sum(gone.values())
        for name, s in able.items():
            ties = min(spare, int((s == threshold).sum()))
            gone[name], spare = gone[name] + ties, spare - ties
        return {name: count / max(1, scores[name].numel()) for name, count in gone.items()}


@final
@dataclass(frozen=True, kw_only=True)
class ByPrice(Distribution):
    """Zeros go where the next one costs the fewest nats, after all that the technique does to make up for them.

    Every layer is pruned at some levels around the sparsity that is asked for; `1/2 tr(G dW A dW^T)` prices each. Then
    zeros are handed out along the lower convex hull of each layer's prices, cheapest first, which is the best there is
    for prices in between that lie on straight lines.

    Layers without a price (no gradients, nothing reached them) get the whole model's sparsity.

    Args:
        levels: shares of weights kept at which layers are priced, as multiples of the whole model's.
    """

    levels: tuple[float, ...] = (2.4, 1.6, 1.0, 0.6, 0.35)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) <= 0:
            raise invalid("prune.weights.ByPrice.levels", self.levels, "positive multiples of the share that is kept")

    def sparsities(self, subjects: Mapping[str, Subject], technique: Sparsification) -> dict[str, float]:
        """Returns the cheapest ones."""
        priced = {name: subject for name, subject in subjects.items() if _has_price(subject)}
        found = dict.fromkeys(subjects, technique.sparsity)
        shares = sorted({1 - level * (1 - technique.sparsity) for level in self.levels})
        tried = [share for share in shares if 0 < share <= max(MOST, technique.sparsity)]
        segments = [
            segment
            for name, subject in priced.items()
            for segment in _hull(name, subject.weight.numel(), self._prices(subject, technique, tried))
        ]
        total = sum(subject.weight.numel() for subject in priced.values())
        return found | dict.fromkeys(priced, 0.0) | _spent(segments, technique.sparsity * total)

    def _prices(self, subject: Subject, technique: Sparsification, tried: Sequence[float]) -> list[tuple[float, float]]:
        prices = [(0.0, 0.0)]
        for share in tried:
            coded = replace(technique, sparsity=share).encode(subject.weight, subject.layer, subject.evidence)  # type: ignore[type-var]
            assert subject.evidence is not None
            prices.append((share, subject.evidence.nats(coded.decode() - subject.weight.detach().cpu().float())))
        return prices


@final
@dataclass(frozen=True, kw_only=True)
class ErdosRenyiKernel(Distribution):
    """Small layers keep more: the share kept is proportional to `(outputs + inputs + kernel) / weights`.

    It looks at shapes alone; known from training sparse networks from scratch.

    Reference:
        Evci et al. 2020, arXiv:1911.11134, section 3, appendix A.
    """

    def sparsities(self, subjects: Mapping[str, Subject], technique: Sparsification) -> dict[str, float]:
        """Returns one minus the share kept, at most all."""
        sizes = {name: subject.weight.numel() for name, subject in subjects.items()}
        raw = {name: sum(s.layer.shape) / max(1, sizes[name]) for name, s in subjects.items()}
        full: set[str] = set()
        while True:
            budget = (1 - technique.sparsity) * sum(sizes.values()) - sum(sizes[name] for name in full)
            rest = sum(raw[name] * sizes[name] for name in sizes if name not in full)
            factor = budget / rest if rest else 0.0
            over = {name for name in sizes if name not in full and raw[name] * factor > 1}
            if not over:
                return {name: 0.0 if name in full else 1 - raw[name] * factor for name in sizes}
            full |= over


ALL: tuple[type[Distribution], ...] = (Uniform, GlobalScore, ByPrice, ErdosRenyiKernel)


class _Segment(NamedTuple):
    """Of a layer's hull: raising its sparsity by `share` costs `slope` nats a weight."""

    slope: float
    name: str
    share: float
    size: int


def _hull(name: str, size: int, prices: list[tuple[float, float]]) -> list[_Segment]:
    """Returns the lower convex hull of points (sparsity, nats) as segments of growing slope."""
    hull: list[tuple[float, float]] = []
    for point in prices:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
            hull.pop()
        hull.append(point)
    return [_Segment(_slope(a, b) / max(1, size), name, b[0] - a[0], size) for a, b in itertools.pairwise(hull)]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def _spent(segments: Iterable[_Segment], zeros: float) -> dict[str, float]:
    """Hands out zeros, the cheapest segments first, the last one in part."""
    found: dict[str, float] = {}
    for segment in sorted(segments):
        share = min(segment.share, max(0.0, zeros) / max(1, segment.size))
        found[segment.name] = found.get(segment.name, 0.0) + share
        zeros -= share * segment.size
    return found


def _has_price(subject: Subject) -> bool:
    seen = subject.evidence
    return seen is not None and seen.gradient_sum is not None and bool(seen.input_sum.any())


def _means(technique: Sparsification, subject: Subject) -> Tensor:
    scores = View.of(subject.layer, whole_kernels=False).layout.view(technique.scores(*subject))
    assert isinstance(technique.pattern, BlockPattern)
    return technique.pattern.means(scores).flatten()


def _least(scores: Tensor, share: float) -> Tensor:
    return scores.sort().values[: int(share * len(scores))]
