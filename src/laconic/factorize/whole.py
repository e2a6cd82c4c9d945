"""A whole model in thinner layers, in one call."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, get_args

from torch import nn

from laconic.calibrate import Evidence, Layer, calibrate, layers, reached_of
from laconic.core.edit import Swap
from laconic.core.errors import ModelError, UsageError, check_whole, invalid
from laconic.core.plain_weights import on_plain_weights
from laconic.core.plan import Plan
from laconic.core.sound import check_weights
from laconic.core.task import Task
from laconic.factorize.activation_aware import ActivationAwareSVD
from laconic.factorize.choice import Offer, cheapest
from laconic.factorize.decomposition import Decomposition, Factorization, Level, Module, is_module

Measure = Literal["parameters", "macs"]


@on_plain_weights
def factorize(
    model: nn.Module,
    task: Task,
    *,
    ratio: float | None = None,
    energy: float | None = None,
    rank: int | None = None,
    of: Measure = "parameters",
    method: Factorization | None = None,
    keep: Sequence[str] = (),
    evidence: Evidence | None = None,
) -> Plan:
    """Plans layers as products of smaller ones, real layers that every runtime knows. Nothing is changed: `apply` it.

    How far is said by one of `ratio`, `energy` and `rank`; without any, `ratio=0.3`. A layer that would not become
    both smaller and cheaper stays as it is.

    Args:
        model: a trained model.
        task: its data; one pass over the calibration part, unless `evidence` is given.
        ratio: the fraction of the whole model to save, in `(0, 1)`, shared out so that it costs the fewest predicted
            nats.
        energy: the share of each layer's output energy to keep, in `(0, 1]`.
        rank: of every layer; its levels at or below it.
        of: `"parameters"` or `"macs"`: what `ratio` counts.
        method: None: `ActivationAwareSVD()`.
        keep: patterns (`*`, `?`) of module paths that stay as they are.
        evidence: of an earlier `calibrate`; with gradients for `ratio`, or errors are compared layer by layer as shares
            of their outputs' energy.

    Raises:
        UsageError: a number is outside its domain, a pattern matches nothing, or so much cannot be saved.
        ModelError: no layer can be factorised, or a weight is NaN or not there.

    Guarantees:
        No layer of the plan has more parameters, or needs more multiply-accumulates, than it had.

    Example:
        >>> import torch
        >>> from laconic.core.apply import apply
        >>> model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        >>> print(factorize(model, Task(evaluate=[torch.randn(64, 16)], metric="mse"), rank=4))
        Plan: 2 edits
          0: replaced by two linear layers of rank 4
          2: replaced by two linear layers of rank 4
    """
    check_weights(model, "factorize.model")
    _check(ratio, energy, rank, of)
    method, by_ratio = method or ActivationAwareSVD(), energy is None and rank is None
    free = dict(_free(model, keep))
    if evidence is None:
        evidence = calibrate(model, task, gradients=by_ratio, activations=False)
    so = "they stay as they are" if by_ratio else "there all inputs count alike"
    seen = reached_of(evidence.layers, [layer.parameter for _, layer in free.values()], "factorize", so=so)
    if by_ratio:
        free = {path: found for path, found in free.items() if found[1].parameter in seen}
    if energy is not None:
        seen = {name: replace(one, gradient_sum=None) for name, one in seen.items()}
    found = {
        path: decomposition
        for path, (module, layer) in free.items()
        if (decomposition := method.decompose(module, layer, seen.get(layer.parameter))) and decomposition.levels
    }
    if not found:
        raise ModelError(
            f"factorize: {type(model).__name__} has no linear layer or convolution that {type(method).__name__} makes "
            "smaller."
        )
    if energy is not None:
        chosen = {path: _keeping(d.levels, energy) for path, d in found.items()}
    elif rank is not None:
        chosen = {path: _at_most(d.levels, rank) for path, d in found.items()}
    else:
        chosen = _saving(model, found, free, evidence, of, 0.3 if ratio is None else ratio)
    return Plan.of(Swap(path, found[path].spec(level)) for path, level in chosen.items() if level is not None)


def _check(ratio: float | None, energy: float | None, rank: int | None, of: str) -> None:
    given = [name for name, value in (("ratio", ratio), ("energy", energy), ("rank", rank)) if value is not None]
    if len(given) > 1:
        raise UsageError(f"factorize: got {' and '.join(given)}; expected one of them.")
    if ratio is not None and not 0 < ratio < 1:
        raise invalid("factorize.ratio", ratio, "a fraction in (0, 1)", "To save 30 % write 0.3.")
    if energy is not None and not 0 < energy <= 1:
        raise invalid("factorize.energy", energy, "a fraction in (0, 1]", "To keep 95 % write 0.95.")
    if rank is not None:
        check_whole("factorize.rank", rank, 1)
    if of not in get_args(Measure):
        raise invalid("factorize.of", of, "'parameters' or 'macs'")


def _free(model: nn.Module, keep: Sequence[str]) -> Iterator[tuple[str, tuple[Module, Layer]]]:
    """Yields the layers that may change: their modules have one path, and their weights one owner."""
    known = {layer.parameter: layer for layer in layers(model)}
    modules = dict(model.named_modules(remove_duplicate=False))
    for pattern in keep:
        if not fnmatch.filter(modules, pattern):
            near = ", ".join(difflib.get_close_matches(pattern, modules, n=3, cutoff=0.3))
            raise invalid("factorize.keep", pattern, "a pattern that matches a module", f"Near ones: {near}.")
    paths = Counter(id(module) for module in modules.values())
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    for path, module in modules.items():
        weight = module._parameters.get("weight")
        if not path or weight is None or not is_module(module) or any(fnmatch.fnmatch(path, p) for p in keep):
            continue
        if paths[id(module)] == 1 and owners[id(weight)] == 1 and f"{path}.weight" in known:
            yield path, (module, known[f"{path}.weight"])


def _keeping(levels: Sequence[Level], energy: float) -> Level | None:
    return next((level for level in levels if level.error <= 1 - energy), None)


def _at_most(levels: Sequence[Level], rank: int) -> Level | None:
    return max((level for level in levels if max(level.rank) <= rank), key=lambda x: x.parameters, default=None)


def _saving(
    model: nn.Module,
    found: dict[str, Decomposition],
    free: dict[str, tuple[Module, Layer]],
    evidence: Evidence,
    of: Measure,
    ratio: float,
) -> dict[str, Level | None]:
    """Returns the level of each layer, None for as it is, that save the ratio for the least."""
    runs = {layer.parameter: _runs(evidence, layer, of) for layer in layers(model)}
    sizes = {name: float(p.numel()) for name, p in model.named_parameters()}
    total = sum(sizes.values()) if of == "parameters" else sum(sizes[name] * n for name, n in runs.items())
    offers = {}
    for path, decomposition in found.items():
        layer = free[path][1]
        whole = Offer(size=math.prod(layer.shape) * runs[layer.parameter], error=0.0, place=None)
        offers[path] = [whole, *_offers(decomposition.levels, of, runs[layer.parameter])]
    most = sum(levels[0].size - min(o.size for o in levels) for levels in offers.values())
    if ratio * total > most:
        raise invalid(
            "factorize.ratio",
            ratio,
            f"at most {math.floor(1000 * most / total) / 1000:g}: the layers that can be factorised, {len(offers)} of "
            f"{type(model).__name__}, are {sum(levels[0].size for levels in offers.values()) / total:.1%} of its {of}",
            "Save the rest otherwise: quantize takes every layer, prune whole channels.",
        )
    chosen = cheapest(offers, ratio * total)
    return {p: None if o.place is None else found[p].levels[o.place] for p, o in chosen.items()}


def _offers(levels: Sequence[Level], of: Measure, runs: float) -> Iterator[Offer]:
    for place, level in enumerate(levels):
        size = level.parameters if of == "parameters" else level.macs * runs
        yield Offer(size=size, error=level.error, place=place)


def _runs(evidence: Evidence, layer: Layer, of: Measure) -> float:
    """Returns how often one sample uses each weight; 1 where parameters are counted."""
    seen = evidence.layers.get(layer.parameter)
    if of == "parameters":
        return 1.0
    return 0.0 if seen is None else float(seen.positions.double().mean()) / max(evidence.samples, 1)
