"""A smaller model in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

from torch import nn

from laconic.calibrate import Evidence
from laconic.core.errors import check_fraction, check_whole, invalid
from laconic.core.sound import check_weights
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.graph import Graph, capture, costs
from laconic.graph.axes import axes
from laconic.graph.example import Example, example_inputs
from laconic.prune.choice import Candidates, Scope
from laconic.prune.cutting import cut_out, refitted
from laconic.prune.depth import remove_blocks
from laconic.prune.gather import gather, inputs_of
from laconic.prune.importance import Importance
from laconic.prune.limits import Limits, free_axes, least_for, rounding_for
from laconic.prune.nearness import missed
from laconic.prune.pruned import Pruned
from laconic.prune.ranking import Ranked, rankings
from laconic.prune.refit import refit
from laconic.prune.savings import Measure, Savings
from laconic.prune.shared_widths import shared_widths
from laconic.prune.sound import check_runs
from laconic.prune.trial import nearest
from laconic.prune.units import Units, jointly, present

Compensation = Literal["weights", "statistics"]


def prune(
    model: nn.Module,
    data: Example,
    *,
    ratio: float = 0.5,
    of: Measure = "macs",
    importance: Importance | None = None,
    scope: Scope | None = None,
    target: Target | None = None,
    round_to: int | None = None,
    least: float | Mapping[str, float] = 0.0,
    keep: Sequence[str] = (),
    units: Sequence[str] | None = None,
    compensate: Compensation | None = "weights",
    samples: int = 1024,
    evidence: Evidence | None = None,
    graph: Graph | None = None,
) -> Pruned:
    """Removes whole channels, neurons, heads and widths, and proves that what remains computes what it did.

    Args:
        model: a trained model; left untouched.
        data: a `Task`, whose calibration data is read without labels; or example inputs (a tensor, a sequence of
            positional ones, or a mapping of named ones), which say nothing about importance.
        ratio: the fraction to save, in `[0, 1)`.
        of: of `"macs"`, `"parameters"` or `"slices"`.
        importance: which slices matter least; None: `Compensated()` with a task, `Magnitude()` with example inputs.
        scope: `"global"` ranks all slices by price per saving; `"layer"` takes the same fraction of every axis,
            `"kind"` of every kind of axis; `"equal"` lets all axes of one kind and size shrink alike, and only those
            that the model's config, if it has one, can describe. None: `"global"`; but with a task and no `importance`,
            `"layer"` by `Magnitude()` is tried as well on a few samples, and what comes out nearer to the original is
            taken, as `Pruned.notes` say.
        target: where the model will run; decides what `round_to` is when that is None.
        round_to: sizes that are cut become a multiple of it; the numbers of heads and experts never do. None: for a
            target, sizes become multiples of 16, or of 4 below 16, since other widths of a convolution take as long as
            the next such one; without a target all sizes are allowed.
        least: no axis keeps a smaller fraction of its slices than this, in `[0, 1)`: one number, or one for each
            pattern of parameter names.
        keep: patterns (`*`, `?`) of parameter names; an axis with such a parameter is left alone.
        units: what may go: kinds of axes (such as `"channels"`, `"heads"`, `"experts"`), `"axes"` for all of them, and
            `"blocks"`, whole branches and layers (see `remove_blocks`); None: all axes. Blocks beside axes are removed
            first, as many as measure best, which takes about four times as long.
        compensate: with a task, fit what remains to the original's activations (see `refit`): `"weights"`, biases and
            batch-norm statistics; `"statistics"` alone; or None, nothing.
        samples: at most so many are read, for evidence and for fitting.
        evidence: of an earlier `calibrate`.
        graph: of an earlier `capture`.

    Raises:
        UsageError: a number is outside its domain, a pattern matches nothing, or the model or its inputs are none.
        ModelError: the model cannot be captured, has nothing that can be cut, has weights that are no numbers, or the
            proof fails.

    Guarantees:
        The original is left as it was. Equal arguments give equal plans.
        A ratio that cannot be reached within 2 % is said in `Pruned.notes`.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(prune(model, torch.randn(5, 4), ratio=0.5))
        Pruned: 50.0% of the MACs, 51.7% of the parameters, the model's own class
          0.weight[0]: 8 -> 4
    """
    check_weights(model, "prune.model")
    check_fraction("prune.ratio", ratio)
    check_whole("prune.samples", samples, 1)
    if compensate is not None and compensate not in get_args(Compensation):
        raise invalid("prune.compensate", compensate, "'weights', 'statistics' or None")
    wanted = Units.of(units)
    if wanted.blocks:
        if of == "slices":
            raise invalid("prune.of", of, "'macs' or 'parameters' where blocks may go")
        if wanted.kinds == ():
            return remove_blocks(
                model, data, ratio=ratio, of=of, keep=keep, compensate=compensate, samples=samples, graph=graph
            )

        def narrow(shorter: nn.Module, left: float) -> Pruned:
            return prune(
                shorter,
                data,
                ratio=left,
                of=of,
                importance=importance,
                scope=scope,
                target=target,
                round_to=round_to,
                least={k: least[k] for k in present(list(least), shorter)} if isinstance(least, Mapping) else least,
                keep=present(keep, shorter),
                units=wanted.kinds,
                compensate=compensate,
                samples=samples,
            )

        return jointly(
            model, data, narrow, ratio=ratio, of=of, keep=keep, compensate=compensate, samples=samples, graph=graph
        )
    task = data if isinstance(data, Task) else None
    args, kwargs = example_inputs(data)
    check_runs(model, args, kwargs)
    graph = graph or capture(model, args, kwargs)
    found = axes(graph)
    limits = Limits(rounding=rounding_for(target, round_to), least=least_for(found, least))
    free = wanted.among(free_axes(found, keep))
    savings, locked = Savings(found, of), shared_widths(model, found, free)
    ranked = []
    for ranking in rankings(importance, scope, data=task is not None):
        known = gather(model, found, ranking.importance, task, samples=samples, evidence=evidence)
        removals = {axis: ranking.importance.removal(axis, known) for axis in free}
        candidates = Candidates(removals=removals, savings=savings, limits=limits, locked=locked)
        ranked.append(ranking.cut(candidates, ratio, model, found))
    chosen, how = ranked[0], ""
    if task is not None and len(ranked) > 1:
        chosen, how = nearest(
            found, ranked, ratio, task, weights=None if compensate is None else compensate == "weights"
        )
    kept = chosen.kept
    smaller = cut_out(model, found, kept, args, kwargs)
    if task is not None and kept and compensate is not None:
        values = refit(found, kept, inputs_of(found, task, samples), weights=compensate == "weights")
        smaller = refitted(model, smaller, values)
    return Pruned(
        model=smaller.model,
        plan=smaller.plan,
        kind=smaller.kind,
        why=smaller.why,
        error=smaller.error,
        axes=found,
        keep={axis.name: indices for axis, indices in kept.items()},
        before=costs(graph),
        after=costs(smaller.graph or capture(smaller.model, args, kwargs)),
        notes=(*_notes(chosen, ratio, of, how), *smaller.notes),
    )


def _notes(chosen: Ranked, ratio: float, of: str, how: str) -> Iterator[str]:
    if how:
        yield how
    yield from missed(ratio, chosen.saved, of=of, by="sizes that are allowed")
    if chosen.unpriced:
        yield f"left alone, because the criterion does not apply to them: {', '.join(chosen.unpriced)}."
