"""Terms of very different size, made comparable before they are weighed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast, final

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch
from laconic.distill.weighing import unweighted, weighted
from laconic.train.objective import Moment, Objective


def balanced(objective: Objective, *terms: str) -> Objective:
    """Returns an objective whose terms are divided by what they are, without weights, before the first step.

    Weights and schedules then say how much each term counts, whatever its kind and scale: with weight 1 each begins
    at 1. `Match(balance=True)` does so for one match by itself. Sizes are measured on the run's first batch, are saved
    with the run, and stay.

    Args:
        objective: such as `distillation(teacher, task, Sum(losses=(Labels(), SameLogits())))`.
        terms: names of those that are divided; none: all.

    Raises:
        UsageError: when it is trained: a name that no term has.

    Example:
        >>> plain = Objective(name="plain", terms=lambda model, batch, moment: {"labels": torch.tensor(8.0)})
        >>> one = balanced(plain)
        >>> sizes = one.parts(nn.Identity(), Batch())
        >>> one.terms(nn.Identity(), Batch(), Moment(parts=sizes))
        {'labels': tensor(1.)}
    """

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        inner = None if objective.parts is None else objective.parts(model, batch)
        with torch.no_grad(), unweighted() as bare:
            found = objective.terms(model, batch, Moment(parts=inner))
            sizes = {name: bare.of(term).abs() for name, term in found.items()}
        if unknown := [name for name in terms if name not in sizes]:
            raise invalid("balanced.terms", unknown[0], f"the name of a term: {', '.join(sizes)}")
        return _Sizes(inner, [name for name in sizes if name in terms or not terms], sizes)

    def divided(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        own = cast(_Sizes, moment.parts)
        found = objective.terms(model, batch, replace(moment, parts=own.inner))
        return {name: own.divided(name, term) for name, term in found.items()}

    def after(model: nn.Module, moment: Moment) -> None:
        if objective.after is not None:
            objective.after(model, replace(moment, parts=cast(_Sizes, moment.parts).inner))

    said = ", ".join(terms) or "all terms"
    return replace(objective, terms=divided, parts=parts, after=after, name=f"{objective.name} with {said} balanced")


@final
class _Sizes(nn.Module):
    """What the terms were before the first step, and what the objective has of its own."""

    sizes: Tensor

    def __init__(self, inner: nn.Module | None, names: Sequence[str], sizes: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.inner, self.names = inner, list(names)
        # A term that is 0 at the start has no size; it stays as it is.
        found = [sizes[name].float().where(sizes[name] > 0, 1.0) for name in self.names]
        self.register_buffer("sizes", torch.stack(found) if found else torch.ones(0))

    def divided(self, name: str, term: Tensor) -> Tensor:
        """Returns a term over its size, if it is to be divided."""
        return weighted(term, 1 / self.sizes[self.names.index(name)]) if name in self.names else term
