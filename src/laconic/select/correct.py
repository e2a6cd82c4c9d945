"""What was predicted, set right by a few whole-model measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import nn

from laconic.calibrate.untouched import untouched
from laconic.core.apply import apply
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.measure import kl_divergence
from laconic.select.offer import Offer

TYPICAL_NATS = 1e-3
"""Offers near this price are measured: dear enough to matter, cheap enough to be chosen."""


def measured(
    model: nn.Module, task: Task, offers: Sequence[Offer], count: int, samples: int, *, skip: int
) -> dict[int, float]:
    """Measures some offers, each alone on the whole model.

    Args:
        model: the original.
        task: its calibration data is read.
        offers: of all layers.
        count: how many are measured, one a layer; layers with the most bytes first.
        samples: how many are read.
        skip: how many come before them, unless there are no more than those.

    Returns:
        Place in `offers` -> KL(original || changed) in nats a prediction.
    """
    batches = held_back(task, samples, skip)
    places = _points(offers, count)
    found: dict[int, float] = {}
    with untouched(model, gradients=False, seed=0), torch.no_grad():
        answers = [task.forward(model, batch) for batch in batches]
        for place in places:
            edit = offers[place].edit
            assert edit is not None
            changed = apply(model, Plan.of([edit]))
            found[place] = mean_kl(task, changed, batches, answers)
    return found


def held_back(task: Task, samples: int, skip: int) -> list[Batch]:
    """Returns calibration batches that come after the first `skip` samples; if there are none, the first."""
    later, seen, taken = [], 0, 0
    for batch in task.batches("calibrate"):
        seen += batch.size
        if seen > skip and taken < samples:
            later.append(batch)
            taken += batch.size
        if taken >= samples:
            break
    return later or list(task.batches("calibrate", limit=samples))


def mean_kl(task: Task, changed: nn.Module, batches: Iterable[Batch], answers: Iterable[torch.Tensor]) -> float:
    """Returns the mean KL in nats from the original's answers to a changed model's, over all predictions."""
    kl = torch.cat(
        [
            _distance(task, answer, task.forward(changed, batch)).flatten()
            for batch, answer in zip(batches, answers, strict=True)
        ]
    )
    return float(kl.mean())


def _distance(task: Task, original: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    if task.score.regression:  # A normal distribution of variance one around each value.
        return 0.5 * (original - changed).double().square()
    return kl_divergence(original, changed)


def corrected(offers: Sequence[Offer], points: Mapping[int, float]) -> list[Offer]:
    """Scales each layer's predictions to what was measured on it, others by the median of all layers."""
    ratios = {
        offers[place].layer: nats / offers[place].predicted_nats
        for place, nats in points.items()
        if nats > 0 and offers[place].predicted_nats > 0
    }
    typical = statistics.median(ratios.values()) if ratios else 1.0
    return [
        replace(
            offer,
            nats=offer.predicted_nats * ratios.get(offer.layer, typical),
            measured_nats=points.get(place),
        )
        for place, offer in enumerate(offers)
    ]


def _points(offers: Sequence[Offer], count: int) -> list[int]:
    """Returns the place of one offer a layer: the one whose price is nearest to a typical one."""
    best: dict[str, int] = {}
    sizes = {offer.layer: offer.size_bytes for offer in reversed(offers)}
    for place, offer in enumerate(offers):
        if offer.edit is None or not offer.predicted_nats > 0:
            continue
        held = best.get(offer.layer)
        if held is None or _atypical(offer) < _atypical(offers[held]):
            best[offer.layer] = place
    return [best[layer] for layer in islice(sorted(best, key=lambda x: -sizes[x]), count)]


def _atypical(offer: Offer) -> float:
    ratio = offer.predicted_nats / TYPICAL_NATS
    return max(ratio, 1 / ratio)
