"""Cuts axes out of a model: the user's own module where its code still runs and agrees, else a graph module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Cut, Recode, Rewrite
from laconic.core.errors import LaconicError, ModelError
from laconic.core.plan import Plan
from laconic.graph import Graph, capture
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes import axes as axes_of
from laconic.graph.cutting import cut
from laconic.graph.failure import first_line
from laconic.graph.oracle import cut_error
from laconic.graph.sizes import names_in
from laconic.prune.agreement import agreement, agrees_in_single, tolerance
from laconic.prune.any_size import elsewhere, of_any_size, same_cut
from laconic.prune.attributes import known_attributes, matching_attributes, named_attributes
from laconic.prune.configuration import described, has_config, rebuilt
from laconic.prune.cuts import Attributes, cuts
from laconic.prune.rewriting import rewritings
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
    own, why = _own(model, axes, keep, args, kwargs, proof, near=agreement(model, error))
    if own is not None:
        return own
    try:
        rewritten = _any_size(model, axes, keep, args, kwargs, proof) or _one_size(
            model, axes, keep, args, kwargs, proof
        )
    except ModelError as failure:
        note = str(failure)
    else:
        if rewritten is not None:
            return rewritten._replace(why=why)
        note = "its calls, written down and read back, compute something else."
    return Smaller(smaller, cuts(model, axes, keep), "graph", why, error, (f"this graph cannot be saved: {note}",))


def _one_size(
    model: nn.Module,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    proof: Proof,
) -> Smaller | None:
    """Returns the cut model as a graph that takes the sizes of the example alone."""
    for plan, notes in rewritings(model, axes, keep):
        rewritten = apply(model, plan)
        found, _ = tried(rewritten, axes, keep, args, kwargs, proof)
        if found <= tolerance(model):
            return Smaller(rewritten, plan, "graph", "", found, (*notes, *one_size_only(axes.graph)))
    return None


def one_size_only(graph: Graph) -> Iterator[str]:
    """Yields what to say of a graph that takes the sizes of the example alone, where others are wanted."""
    if names := " and ".join(names_in(graph.sizes)):
        yield f"this graph takes one {names} only, that of the example."


def _any_size(
    model: nn.Module,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    proof: Proof,
) -> Smaller | None:
    """Returns the cut model as a graph that takes sizes that change as they come, where that can be proven."""
    graph = of_any_size(model, axes.graph, args, kwargs)
    same = None if graph is None else same_cut(axes_of(graph), keep)
    if same is None:
        return None
    places: list[tuple[Axes, Mapping[Axis, Tensor], Sequence[Any], Mapping[str, Any]]] = [(axes, keep, args, kwargs)]
    for there, others, named in elsewhere(model, axes.graph, args, kwargs):
        cut_there = same_cut(axes_of(there), keep)
        places += [(*cut_there, others, named)] if cut_there else []
    try:
        for plan, notes in rewritings(model, *same):
            own = apply(model, plan)
            errors = [tried(own, *place, proof)[0] for place in places]
            if len(places) > 1 and all(error <= tolerance(model) for error in errors):
                return Smaller(own, plan, "graph", "", max(errors), notes)
    except ModelError:  # A size that varies would have to be written as a constant.
        return None
    return None


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


def _own(
    model: nn.Module,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    proof: Proof,
    near: float,
) -> tuple[Smaller | None, str]:
    """Returns the user's own module where it can follow the cut, or None and why it cannot."""
    why = ""
    for attributes in WAYS:
        plan = cut_for_training(model, cuts(model, axes, keep, attributes), axes, keep, args, kwargs)
        if plan is None:
            why = "in training its own code reads parameters that evaluation does not, and they do not fit any more"
            continue
        own = apply(model, plan)
        found, why = tried(own, axes, keep, args, kwargs, proof)
        graph, why = _captured(own, args, kwargs) if found <= near else (None, why)
        if graph is None:
            continue
        again, why = tried(graph.program.module(check_guards=False), axes, keep, args, kwargs, proof)
        if not again <= near:
            continue
        if proof is cut_error and not agrees_in_single(model, plan, keep, args, kwargs):
            why = "its own code computes something else at the new sizes, as single precision shows"
            continue
        smaller = Smaller(own, plan, "module", "", found, graph=graph)
        return (
            _configured(smaller, model, axes, keep, lambda m: tried(m, axes, keep, args, kwargs, proof)[0] <= near),
            "",
        )
    return None, why


def _configured(
    smaller: Smaller,
    model: nn.Module,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    agrees: Callable[[nn.Module], bool],
) -> Smaller:
    """Brings the model's config in line with the cut, where what is built from it then computes the same."""
    if not keep or not has_config(smaller.model):
        return smaller
    edit = described(smaller.model, axes, keep)
    if isinstance(edit, Cut):
        plan = smaller.plan + Plan.of([edit])
        own = apply(model, plan)
        twin = rebuilt(own)
        if twin is not None and agrees(own) and agrees(twin):
            return smaller._replace(model=own, plan=plan)
        edit = "what is built from it, with these settings, computes something else"
    if not edit:
        return smaller
    note = f"the config is left as it is: {edit}. Save with Pruned.save, or try scope='equal'."
    return smaller._replace(notes=(*smaller.notes, note))


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


def _captured(own: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Graph | None, str]:
    """Captures the user's module, since its code may take another path there: one with sizes that no attribute has."""
    try:
        return capture(own, args, kwargs), ""
    except ModelError as failure:
        return None, f"its own code cannot be exported at the new sizes: {failure}"


def tried(
    own: nn.Module,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    proof: Proof,
) -> tuple[float, str]:
    """Returns how far the user's module is from the proof's reference, and what to say where it is too far."""
    modes = {module: module.training for module in own.modules()}
    for module in modes:
        module.training = False  # An exported module refuses eval().
    try:
        error = proof(axes, keep, own, args, kwargs)
    except LaconicError:
        raise
    except Exception as failure:  # The user's code, at sizes that it was not written for: it may raise anything.
        return float("inf"), f"its own code does not run at the new sizes: {first_line(failure)}"
    finally:
        for module, training in modes.items():
            module.training = training
    return error, f"its own code computes something else at the new sizes (off by {error:.2g})"
