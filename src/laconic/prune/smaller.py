"""A model after a cut or without some blocks: how it is tried, and how it becomes a graph where it cannot follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode, Rewrite
from laconic.core.errors import LaconicError
from laconic.core.plan import Plan
from laconic.graph import Graph
from laconic.graph.failure import first_line
from laconic.graph.sizes import names_in
from laconic.prune.agreement import tolerance
from laconic.prune.rewriting import Rewriting

Distance = Callable[[nn.Module], float]
"""How far a smaller model is from what it should compute, on certain inputs; it may raise whatever the model raises."""


class Smaller(NamedTuple):
    """A model after a cut or without some blocks: see `Pruned` for the fields."""

    model: nn.Module
    plan: Plan
    kind: Literal["module", "graph"]
    why: str
    error: float
    notes: tuple[str, ...] = ()
    graph: Graph | None = None

    @property
    def planned(self) -> bool:
        """Whether the plan alone leads from the original to the model."""
        return self.kind == "module" or any(isinstance(edit, Rewrite) for edit in self.plan)


def tried(smaller: nn.Module, distance: Distance, change: str) -> tuple[float, str]:
    """Returns how far a smaller model is from what it should compute, and what to say where that is too far.

    Args:
        smaller: computes in eval mode, and keeps its own.
        distance: infinite where the model cannot compute at all.
        change: what its code did not expect, as in "its own code does not run `change`".
    """
    modes = {module: module.training for module in smaller.modules()}
    for module in modes:
        module.training = False  # An exported module refuses eval().
    try:
        error = distance(smaller)
    except LaconicError:
        raise
    except Exception as failure:  # The user's code, changed as it did not expect: it may raise anything.
        return float("inf"), f"its own code does not run {change}: {first_line(failure)}"
    finally:
        for module, training in modes.items():
            module.training = training
    return error, f"its own code computes something else {change} (off by {error:.2g})"


def as_graph(model: nn.Module, rewritings: Iterable[Rewriting], distances: Sequence[Distance]) -> Smaller | None:
    """Returns the first rewriting of a model, as a graph, that computes what it should; None if none does.

    Args:
        model: the original.
        rewritings: plans that put a graph into its place, with notes.
        distances: on the inputs of each size that the graph has to take.
    """
    for plan, notes in rewritings:
        rewritten = apply(model, plan)
        errors = [tried(rewritten, distance, "as a graph")[0] for distance in distances]
        if all(error <= tolerance(model) for error in errors):
            return Smaller(rewritten, plan, "graph", "", max(errors), notes)
    return None


def one_size_only(graph: Graph) -> Iterator[str]:
    """Yields what to say of a graph that takes the sizes of the example alone, where others are wanted."""
    if names := " and ".join(names_in(graph.sizes)):
        yield f"this graph takes one {names} only, that of the example."


def refitted(model: nn.Module, smaller: Smaller, values: Mapping[str, Tensor]) -> Smaller:
    """Adds new values of parameters and buffers, by name, to a smaller model and its plan."""
    plan = smaller.plan + Plan.of(Recode(name, Dense.of(value)) for name, value in values.items())
    if smaller.planned:
        return smaller._replace(model=apply(model, plan), plan=plan)
    fill(smaller.model, values)
    return smaller._replace(plan=plan)


def fill(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Puts values into parameters and buffers, by name."""
    held = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    with torch.no_grad():
        for name, value in values.items():
            held[name].copy_(value)
