"""A smaller model in one call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import get_args

from torch import nn

from laconic.calibrate import Evidence
from laconic.core.errors import check_fraction, check_whole, invalid
from laconic.core.sound import check_weights
from laconic.core.target import Target
from laconic.graph import Graph
from laconic.graph.example import Example
from laconic.prune.choice import Scope
from laconic.prune.depth import remove_blocks
from laconic.prune.importance import Importance
from laconic.prune.limits import rounding_for
from laconic.prune.narrowing import Compensation, Narrowing
from laconic.prune.pruned import Pruned
from laconic.prune.savings import Measure
from laconic.prune.units import Units, jointly


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
    most: float = math.inf,
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
        most: nats that may be lost. Where `Compensated()` predicts three times as many, or what comes nearest in the
            trial of several rankings is farther away, the work ends there.

    Raises:
        UsageError: a number is outside its domain, a pattern matches nothing, or the model or its inputs are none.
        ModelError: the model cannot be captured, has nothing that can be cut, has weights that are no numbers, or the
            proof fails; or more than `most` nats are lost.

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
    narrowing = Narrowing(
        of=of,
        importance=importance,
        scope=scope,
        rounding=rounding_for(target, round_to),
        least=least,
        keep=keep,
        units=wanted,
        compensate=compensate,
        samples=samples,
    )
    if not wanted.blocks:
        return narrowing(model, data, ratio, evidence=evidence, graph=graph, most=most)
    if of == "slices":
        raise invalid("prune.of", of, "'macs' or 'parameters' where blocks may go")
    if wanted.kinds == ():
        return remove_blocks(
            model, data, ratio=ratio, of=of, keep=keep, compensate=compensate, samples=samples, graph=graph
        )
    return jointly(
        model,
        data,
        lambda shorter, left: narrowing.of_shorter(shorter)(shorter, data, left),
        ratio=ratio,
        of=of,
        keep=keep,
        compensate=compensate,
        samples=samples,
        graph=graph,
    )
