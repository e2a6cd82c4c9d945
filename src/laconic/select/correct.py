"""What was predicted, set right by a few whole-model measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from laconic.calibrate.untouched import untouched
from laconic.core.apply import apply
from laconic.core.plan import Plan
from laconic.select.offer import JointOffer, Offer
from laconic.select.yardstick import Yardstick

BENDS = (1e-3, 1e-2)
"""Predicted nats at which the correction changes its slope."""
BEND, OFFSET = 0.05, 1.0
"""How strongly slopes and layers' offsets are drawn to zero, in points."""
MOST_JOINT, SLOPE = 64, 0.01
GOLDEN = (math.sqrt(5) - 1) / 2


def measured(model: nn.Module, offers: Sequence[Offer], count: int, yardstick: Yardstick) -> dict[int, float]:
    """Measures some offers, each alone on the whole model.

    Args:
        model: the original.
        offers: of all layers.
        count: how many are measured.
        yardstick: what measures.

    Returns:
        Place in `offers` -> KL(original || changed) in nats a prediction.
    """
    found: dict[int, float] = {}
    with untouched(model, gradients=False, seed=0):
        for place in _points(offers, count):
            edit = offers[place].edit
            assert edit is not None
            found[place] = yardstick.nats(apply(model, Plan.of([edit])))
    return found


def corrected(offers: Sequence[Offer], points: Mapping[int, float], *, most: float = math.inf) -> list[Offer]:
    """Sets predictions right by what was measured.

    Fits `log(measured / predicted) = a + b max(0, log p / p1) + c max(0, log p / p2) + d_layer` to the points by least
    squares: one line for all layers that bends at two prices, since a model answers to large changes by more than the
    second order of them, and an offset for each layer, drawn to zero. A layer as it is stays at no nats. Beyond what a
    model costs that knows nothing the line says nothing any more: prices grow by hundredths there, to keep their order.

    Args:
        offers: of all layers.
        points: place in `offers` -> nats, as measured.
        most: nats of a model that knows nothing, as of `Yardstick.most`.
    """
    useful = {place: nats for place, nats in points.items() if nats > 0}
    if not useful:
        return [replace(offer, nats=offer.predicted_nats) for offer in offers]
    layers = {layer: i for i, layer in enumerate(dict.fromkeys(offer.layer for offer in offers))}
    rows = np.array([_row(offers[place], layers) for place in useful])
    ratios = np.log([nats / offers[place].predicted_nats for place, nats in useful.items()])
    drawn = np.diag([1e-6, *[BEND] * len(BENDS), *[OFFSET] * len(layers)])
    fitted = np.linalg.solve(rows.T @ rows + drawn, rows.T @ ratios)
    return [
        replace(
            offer,
            nats=_saturated(offer.predicted_nats * math.exp(_row(offer, layers) @ fitted), most)
            if offer.predicted_nats > 0
            else 0.0,
            measured_nats=points.get(place),
        )
        for place, offer in enumerate(offers)
    ]


def joint_ones(model: nn.Module, offers: Sequence[JointOffer], yardstick: Yardstick) -> tuple[JointOffer, ...]:
    """Measures offers for several layers, and sets those right that are not by what was found.

    They are few, and the prediction is far too low for them (8 to 165 times, as measured): all are measured up to 64,
    however few of single layers are.

    Those that are measured cost what was measured; the others what is predicted, times the geometric mean of how far
    the prediction was off. Large changes of many layers have little to do with those that `corrected` knows.

    Args:
        model: the original.
        offers: of all lots.
        yardstick: what measures.
    """
    ordered = sorted(range(len(offers)), key=lambda place: offers[place].predicted_nats)
    count = min(MOST_JOINT, len(ordered))
    places = {ordered[turn * (len(ordered) - 1) // max(count - 1, 1)] for turn in range(count)}
    with untouched(model, gradients=False, seed=0):
        found = {place: yardstick.nats(apply(model, Plan.of(offers[place].edits))) for place in sorted(places)}
    off = [math.log(n / offers[p].predicted_nats) for p, n in found.items() if n > 0 and offers[p].predicted_nats > 0]
    factor = math.exp(sum(off) / len(off)) if off else 1.0
    return tuple(
        replace(
            offer,
            nats=found.get(place, _saturated(factor * offer.predicted_nats, yardstick.most)),
            measured_nats=found.get(place),
        )
        for place, offer in enumerate(offers)
    )


def _saturated(nats: float, most: float) -> float:
    return nats if nats <= most else most + SLOPE * math.log(nats / most)


def _row(offer: Offer, layers: Mapping[str, int]) -> NDArray[np.float64]:
    price = math.log(offer.predicted_nats)
    own = np.zeros(len(layers))
    own[layers[offer.layer]] = 1.0
    return np.array([1.0, *(max(0.0, price - math.log(bend)) for bend in BENDS), *own])


def _points(offers: Sequence[Offer], count: int) -> list[int]:
    """Returns the places of offers to measure: layers in turn, prices spread over all that there are."""
    layers: dict[str, list[int]] = {}
    for place, offer in enumerate(offers):
        if offer.edit is not None and offer.predicted_nats > 0:
            layers.setdefault(offer.layer, []).append(place)
    prices = sorted(math.log(offers[place].predicted_nats) for places in layers.values() for place in places)
    count = min(count, len(prices))
    taken: list[int] = []
    for turn in range(count):
        # Steps of a golden section reach every part of the range early, whatever the number of layers.
        wanted = prices[int(turn * GOLDEN % 1 * len(prices))]
        layer = list(layers)[turn % len(layers)]
        best = min(layers[layer], key=lambda place: abs(math.log(offers[place].predicted_nats) - wanted))
        taken.append(best)
        layers[layer].remove(best)
        if not layers[layer]:
            del layers[layer]
    return sorted(taken)
