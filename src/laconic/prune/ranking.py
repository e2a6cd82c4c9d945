"""Which slices go first, and what that leaves of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from laconic.graph.axes import Axes, Axis
from laconic.prune.choice import Candidates, Scope, choose
from laconic.prune.equal import equal_sizes
from laconic.prune.importance import Compensated, Importance, Magnitude


class Ranking(NamedTuple):
    """Which slices go first.

    Args:
        importance: what a slice is worth.
        scope: what is ranked together.
    """

    importance: Importance
    scope: Scope

    def __str__(self) -> str:
        return f"{type(self.importance).__name__}, scope={self.scope!r}"

    def cut(self, candidates: Candidates, ratio: float, model: nn.Module, found: Axes) -> Ranked:
        """Returns what this ranking leaves, with the fraction `ratio` saved as nearly as sizes allow."""
        if self.scope == "equal":
            sizes = equal_sizes(candidates, ratio, model, found)
        else:
            sizes = choose(candidates, ratio, self.scope)
        return Ranked(
            ranking=self,
            kept=candidates.kept(sizes),
            price=candidates.total(sizes),
            saved=1 - candidates.savings.amount(sizes) / candidates.savings.total,
            unpriced=[axis.name for axis, removal in candidates.removals.items() if not removal.price.isfinite().any()],
        )


class Ranked(NamedTuple):
    """What a ranking leaves.

    Args:
        ranking: the ranking.
        kept: the kept indices of each axis that is cut.
        price: of all that goes, in the unit of the criterion.
        saved: the fraction.
        unpriced: names of axes to which the criterion does not apply.
    """

    ranking: Ranking
    kept: Mapping[Axis, Tensor]
    price: float
    saved: float
    unpriced: Sequence[str] = ()


def rankings(importance: Importance | None, scope: Scope | None, *, data: bool) -> tuple[Ranking, ...]:
    """Returns what comes into question for what the user said.

    Predicted nats know which layers can spare most, but are a guess to second order: where half of a narrow network
    goes they may be far out, and the same fraction of every axis is better. Where nothing is said, both are tried.

    Args:
        importance: as in `prune`.
        scope: as in `prune`.
        data: whether there is a task, to try them on.
    """
    if importance is None and scope is None and data:
        return Ranking(Compensated(), "global"), Ranking(Magnitude(), "layer")
    return (Ranking(importance or (Compensated() if data else Magnitude()), scope or "global"),)
