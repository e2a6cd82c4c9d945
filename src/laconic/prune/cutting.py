"""Cuts axes out of a model: the user's own module where its code still runs and agrees, else a graph module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from laconic.core.apply import apply
from laconic.core.edit import Cut
from laconic.core.errors import LaconicError, ModelError
from laconic.core.plan import Plan
from laconic.graph import Graph, capture
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes import axes as axes_of
from laconic.graph.cutting import cut
from laconic.graph.failure import first_line
from laconic.graph.oracle import cut_error
from laconic.prune.agreement import agreement, agrees_in_single, tolerance
from laconic.prune.any_size import elsewhere, of_any_size, same_cut
from laconic.prune.attributes import known_attributes, matching_attributes, named_attributes
from laconic.prune.configuration import described, has_config, rebuilt
from laconic.prune.cuts import Attributes, cuts
from laconic.prune.rewriting import rewritings
from laconic.prune.smaller import Smaller, as_graph, one_size_only, tried
from laconic.prune.training_only import cut_for_training

WAYS: tuple[tuple[Attributes, ...], ...] = (
    (known_attributes,),
    (known_attributes, matching_attributes),
    (known_attributes, named_attributes),
)
"""Which attributes to update, tried in this order."""
Proof = Callable[[Axes, Mapping[Axis, Tensor], nn.Module, Sequence[Any], Mapping[str, Any]], float]


class UnprovenError(ModelError):
    """A cut graph does not run, or does not compute what the original with zeros computes."""


def cut_out(
    model: nn.Module,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    proof: Proof = cut_error,
) -> Smaller:
    """Returns the model without the slices that are not kept, after the proof that nothing else changed.

    Args:
        model: the original; left untouched.
        axes: its analysis.
        keep: the kept indices of each axis that is cut, int64.
        args: positional inputs that the proof runs on.
        kwargs: named inputs.
        proof: how far a cut model is from what it should compute.

    Raises:
        UsageError: an index is out of range, comes twice, or none is kept.
        UnprovenError: the cut graph does not compute what the original with zeros computes.

    Guarantees:
        The model's outputs are those of the original with zeros in the cut slices.
        Mode, dtype, device, `requires_grad`, ties and hooks of a user's own module survive.
    """
    smaller, error = proven(axes, keep, args, kwargs, proof)
    case = _Case(model, axes, keep, args, kwargs, proof)
    own, why = case.own(near=agreement(model, error))
    if own is not None:
        return own
    try:
        written = case.of_any_size() or case.of_one_size()
    except ModelError as failure:
        note = str(failure)
    else:
        if written is not None:
            return written._replace(why=why)
        note = "its calls, written down and read back, compute something else."
    return Smaller(smaller, cuts(model, axes, keep), "graph", why, error, (f"this graph cannot be saved: {note}",))


def proven(
    axes: Axes, keep: Mapping[Axis, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any], proof: Proof = cut_error
) -> tuple[GraphModule, float]:
    """Returns the graph without the slices that are not kept, and how far it is from what it should compute.

    Args:
        axes: the analysis of the original.
        keep: the kept indices of each axis that is cut.
        args: positional inputs that the proof runs on.
        kwargs: named inputs.
        proof: how far a cut model is from what it should compute.

    Raises:
        UnprovenError: it does not run, or is further away than rounding takes it.
    """
    name, mend = axes.graph.name, "nothing is returned. Please report this model."
    try:
        smaller = cut(axes, keep)
        error = proof(axes, keep, smaller, args, kwargs)
    except LaconicError:
        raise
    except Exception as failure:  # Of an operator that kept a size which its inputs lost: it may be any.
        said = first_line(failure)
        raise UnprovenError(f"prune: {name} without the cut slices does not run ({said}); {mend}") from failure
    limit = tolerance(smaller)
    if not error <= limit:
        raise UnprovenError(
            f"prune: {name} without the cut slices is {error:.2g} away from the original with zeros in them, "
            f"expected at most {limit:.1g}; {mend}"
        )
    return smaller, error


def unproven(axes: Axes, among: Iterable[Axis], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Axis]:
    """Returns the axes of which no half can be cut even alone, because the graph without it is not right.

    Args:
        axes: the analysis of the original.
        among: the axes in question.
        args: positional inputs that the proof runs on.
        kwargs: named inputs.
    """
    found = []
    for axis in among:
        try:
            proven(axes, {axis: torch.arange(max(axis.least, axis.size // 2))}, args, kwargs)
        except UnprovenError:
            found.append(axis)
    return found


@dataclass(frozen=True, eq=False)
class _Case:
    """A cut, the inputs that it is proven on, and the proof: see `cut_out`."""

    model: nn.Module
    axes: Axes
    keep: Mapping[Axis, Tensor]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    proof: Proof

    def own(self, near: float) -> tuple[Smaller | None, str]:
        """Returns the user's own module where it can follow the cut, or None and why it cannot."""
        why = ""
        for attributes in WAYS:
            smaller, why = self._followed(attributes, near)
            if smaller is not None:
                return self._configured(smaller, lambda model: self._tried(model)[0] <= near), ""
        return None, why

    def of_one_size(self) -> Smaller | None:
        """Returns the cut model as a graph that takes the sizes of the example alone."""
        found = as_graph(self.model, rewritings(self.model, self.axes, self.keep), [self._distance])
        return found and found._replace(notes=(*found.notes, *one_size_only(self.axes.graph)))

    def of_any_size(self) -> Smaller | None:
        """Returns the cut model as a graph that takes sizes that change as they come, where that can be proven."""
        graph = of_any_size(self.model, self.axes.graph, self.args, self.kwargs)
        same = None if graph is None else same_cut(axes_of(graph), self.keep)
        others = [case._distance for case in self._elsewhere()] if same else []
        if not same or not others:
            return None
        try:
            return as_graph(self.model, rewritings(self.model, *same), [self._distance, *others])
        except ModelError:  # A size that varies would have to be written as a constant.
            return None

    def _elsewhere(self) -> Iterator[_Case]:
        """Yields the same cut at other sizes of the inputs."""
        for graph, args, kwargs in elsewhere(self.model, self.axes.graph, self.args, self.kwargs):
            if same := same_cut(axes_of(graph), self.keep):
                yield replace(self, axes=same[0], keep=same[1], args=args, kwargs=kwargs)

    def _distance(self, smaller: nn.Module) -> float:
        return self.proof(self.axes, self.keep, smaller, self.args, self.kwargs)

    def _tried(self, smaller: nn.Module) -> tuple[float, str]:
        return tried(smaller, self._distance, "at the new sizes")

    def _followed(self, attributes: tuple[Attributes, ...], near: float) -> tuple[Smaller | None, str]:
        """Returns the user's own module with these attributes brought in line, or None and why it will not do."""
        changed = cuts(self.model, self.axes, self.keep, attributes)
        plan = cut_for_training(self.model, changed, self.axes, self.keep, self.args, self.kwargs)
        if plan is None:
            why = "in training its own code reads parameters that evaluation does not, and they do not fit any more"
            return None, why
        own = apply(self.model, plan)
        found, why = self._tried(own)
        graph, why = _captured(own, self.args, self.kwargs) if found <= near else (None, why)
        if graph is None:
            return None, why
        again, why = self._tried(graph.program.module(check_guards=False))
        if not again <= near:
            return None, why
        if self.proof is cut_error and not agrees_in_single(self.model, plan, self.keep, self.args, self.kwargs):
            return None, "its own code computes something else at the new sizes, as single precision shows"
        return Smaller(own, plan, "module", "", found, graph=graph), ""

    def _configured(self, smaller: Smaller, agrees: Callable[[nn.Module], bool]) -> Smaller:
        """Brings the model's config in line with the cut, where what is built from it then computes the same."""
        if not self.keep or not has_config(smaller.model):
            return smaller
        edit = described(smaller.model, self.axes, self.keep)
        if isinstance(edit, Cut):
            plan = smaller.plan + Plan.of([edit])
            own = apply(self.model, plan)
            twin = rebuilt(own)
            if twin is not None and agrees(own) and agrees(twin):
                return smaller._replace(model=own, plan=plan)
            edit = "what is built from it, with these settings, computes something else"
        if not edit:
            return smaller
        note = f"the config is left as it is: {edit}. Save with Pruned.save, or try scope='equal'."
        return smaller._replace(notes=(*smaller.notes, note))


def _captured(own: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Graph | None, str]:
    """Captures the user's module, since its code may take another path there: one with sizes that no attribute has."""
    try:
        return capture(own, args, kwargs), ""
    except ModelError as failure:
        return None, f"its own code cannot be exported at the new sizes: {failure}"
