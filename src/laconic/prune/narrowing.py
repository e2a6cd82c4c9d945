"""A narrower model: slices of its axes go, what remains is fitted and proven."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import nn

from laconic.calibrate import Evidence
from laconic.core.errors import ModelError
from laconic.core.task import Task
from laconic.graph import Graph, capture, costs
from laconic.graph.axes import Axes, Axis, axes
from laconic.graph.example import Example, captured, example_inputs
from laconic.prune.choice import Candidates, Scope
from laconic.prune.cutting import UnprovenError, cut_out, unproven
from laconic.prune.gather import gather, inputs_of
from laconic.prune.importance import Compensated, Importance
from laconic.prune.limits import Limits, Rounding, free_axes, least_for
from laconic.prune.nearness import missed
from laconic.prune.pruned import Pruned
from laconic.prune.ranking import Ranked, rankings
from laconic.prune.refit import refit
from laconic.prune.savings import Measure, Savings
from laconic.prune.shared_widths import shared_widths
from laconic.prune.smaller import refitted
from laconic.prune.sound import check_runs
from laconic.prune.trial import nearest
from laconic.prune.units import Units, present

TOO_HIGH = 3
"""How many times too high predicted nats may be: they were by half on small networks, and elsewhere too low."""
Compensation = Literal["weights", "statistics"]


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """How slices are chosen and what is done about those that stay; each setting as in `prune`."""

    of: Measure
    importance: Importance | None
    scope: Scope | None
    rounding: Rounding
    least: float | Mapping[str, float]
    keep: Sequence[str]
    units: Units
    compensate: Compensation | None
    samples: int

    def of_shorter(self, model: nn.Module) -> Self:
        """Returns the same for a model that may lack some of the original's parameters, which patterns may name."""
        least = self.least
        if isinstance(least, Mapping):
            least = {pattern: least[pattern] for pattern in present(list(least), model)}
        return replace(self, least=least, keep=present(self.keep, model))

    def __call__(
        self,
        model: nn.Module,
        data: Example,
        ratio: float,
        *,
        evidence: Evidence | None = None,
        graph: Graph | None = None,
        most: float = math.inf,
    ) -> Pruned:
        """Returns a narrower model.

        Args:
            model: a trained model; left untouched.
            data: a task, or example inputs.
            ratio: the fraction to save.
            evidence: of an earlier `calibrate`.
            graph: of an earlier `capture`.
            most: as in `prune`.
        """
        task = data if isinstance(data, Task) else None
        args, kwargs = example_inputs(data)
        check_runs(model, args, kwargs)
        graph = graph or captured(model, data)
        found = axes(graph)
        free = self.units.among(free_axes(found, self.keep))
        alone: list[Axis] = []
        try:
            chosen, how = self._chosen(model, found, free, ratio, task, evidence, most)
            smaller = cut_out(model, found, chosen.kept, args, kwargs)
        except UnprovenError:
            alone = unproven(found, free, args, kwargs)
            free = [axis for axis in free if axis not in alone]
            if not alone or not free:
                raise
            chosen, how = self._chosen(model, found, free, ratio, task, evidence, most)
            smaller = cut_out(model, found, chosen.kept, args, kwargs)
        if task is not None and chosen.kept and self.compensate is not None:
            inputs = inputs_of(found, task, self.samples)
            values = refit(found, chosen.kept, inputs, weights=self.compensate == "weights")
            smaller = refitted(model, smaller, values)
        return Pruned(
            model=smaller.model,
            plan=smaller.plan,
            kind=smaller.kind,
            why=smaller.why,
            error=smaller.error,
            axes=found,
            keep={axis.name: indices for axis, indices in chosen.kept.items()},
            before=costs(graph),
            after=costs(smaller.graph or capture(smaller.model, args, kwargs)),
            notes=(*_notes(chosen, ratio, self.of, how, alone), *smaller.notes),
        )

    def _chosen(
        self,
        model: nn.Module,
        found: Axes,
        free: Sequence[Axis],
        ratio: float,
        task: Task | None,
        evidence: Evidence | None,
        most: float,
    ) -> tuple[Ranked, str]:
        """Returns what the best ranking of some axes leaves, and how it was found, in words."""
        limits = Limits(rounding=self.rounding, least=least_for(found, self.least))
        savings, locked = Savings(found, self.of), shared_widths(model, found, free)
        ranked = []
        for ranking in rankings(self.importance, self.scope, data=task is not None):
            known = gather(model, found, ranking.importance, task, samples=self.samples, evidence=evidence)
            removals = {axis: ranking.importance.removal(axis, known) for axis in free}
            candidates = Candidates(removals=removals, savings=savings, limits=limits, locked=locked)
            ranked.append(ranking.cut(candidates, ratio, model, found))
            if isinstance(ranking.importance, Compensated) and ranked[-1].price > TOO_HIGH * most:
                raise ModelError(f"cutting {ratio:.0%} is predicted to cost {ranked[-1].price:.2g} nats.")
        if task is None or len(ranked) == 1:
            return ranked[0], ""
        weights = None if self.compensate is None else self.compensate == "weights"
        return nearest(found, ranked, ratio, task, weights=weights, samples=self.samples, most=most)


def _notes(chosen: Ranked, ratio: float, of: str, how: str, alone: Sequence[Axis]) -> Iterator[str]:
    if alone:
        names = ", ".join(axis.name for axis in alone)
        yield f"left alone, because the graph without some of them is not right: {names}. Please report this model."
    if how:
        yield how
    yield from missed(ratio, chosen.saved, of=of, by="sizes that are allowed")
    if chosen.unpriced:
        yield f"left alone, because the criterion does not apply to them: {', '.join(chosen.unpriced)}."
