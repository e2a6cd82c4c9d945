"""The matches of one run at work, with the weights that belong to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast, final

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.distill.attended_layers import Attention
from laconic.distill.feature import LearnedLoss
from laconic.distill.match import Match
from laconic.distill.pair import Pair
from laconic.distill.weighing import weighted


@final
class Matched(nn.Module):
    """Projections, learned losses and scales of some matches; maps features to named loss terms.

    Args:
        matches: what to match.
        pairs: the features of a trial run, one pair a match; they give the shapes, and the size of each loss.

    Raises:
        UsageError: shapes that do not fit together, or the same match twice.
    """

    sizes: Tensor

    def __init__(self, matches: Sequence[Match], pairs: Sequence[Pair]) -> None:
        super().__init__()
        twice = [name for name, count in Counter(map(str, matches)).items() if count > 1]
        if twice:
            raise invalid("match", twice[0], "each match once", "Give one match the weights of both.")
        self.matches = tuple(matches)
        self.projections = nn.ModuleList(
            nn.ModuleList(match.project(level) for level in pair.levels)
            for match, pair in zip(matches, pairs, strict=True)
        )
        self.learned = nn.ModuleList(
            match.loss.module(pair).to(pair.student) if isinstance(match.loss, LearnedLoss) else nn.Identity()
            for match, pair in zip(matches, self._project(pairs), strict=True)
        )
        self.register_buffer("sizes", torch.ones(len(matches)))
        with torch.no_grad():
            self._measure(self._distances(pairs))

    def forward(self, pairs: Sequence[Pair], progress: float) -> dict[str, Tensor]:
        """Returns the weighted distances of features, one pair a match, when a share of the run is done."""
        found = zip(self.matches, self._distances(pairs), self.sizes, strict=True)
        return {str(match): weighted(distance / size, match.factor(progress)) for match, distance, size in found}

    def pairing(self) -> dict[str, dict[str, float]]:
        """Returns for each layer of the student that learns whom to learn from: layer of the teacher -> its share."""
        return {
            match.students[0]: dict(zip(match.teachers, learned.shares.tolist(), strict=True))
            for match, learned in zip(self.matches, self.learned, strict=True)
            if isinstance(learned, Attention)
        }

    def _distances(self, pairs: Sequence[Pair]) -> list[Tensor]:
        joined = zip(self.matches, self.learned, self._project(pairs), strict=True)
        return [
            learned(pair) if isinstance(match.loss, LearnedLoss) else match.loss.distance(pair)
            for match, learned, pair in joined
        ]

    def _project(self, pairs: Sequence[Pair]) -> list[Pair]:
        return [
            _projected(pair, list(cast(nn.ModuleList, projections)))
            for projections, pair in zip(self.projections, pairs, strict=True)
        ]

    def _measure(self, distances: Sequence[Tensor]) -> None:
        for index, (match, distance) in enumerate(zip(self.matches, distances, strict=True)):
            if match.balance and distance != 0:
                self.sizes[index] = distance.abs()


def _projected(pair: Pair, projections: Sequence[nn.Module]) -> Pair:
    """Returns the features with the student's projected, layer by layer."""
    following = None if pair.following is None else _projected(pair.following, projections[1:])
    return replace(pair, student=projections[0](pair.student), following=following)
