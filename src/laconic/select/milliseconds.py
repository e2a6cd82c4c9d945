"""Milliseconds of every offer of a price list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.export.onnxruntime.latency_table import LatencyTable
from laconic.graph import Graph
from laconic.select.latency import LatencyModel, Prediction, latency_model
from laconic.select.offer import Offer, PriceList


@final
@dataclass(frozen=True, kw_only=True)
class Milliseconds:
    """What each offer takes on the target, as a sum over layers: `other` and one offer of each layer.

    Args:
        offers: in the order of `PriceList.offers`.
        other: all that none of the layers is.
        model: what they come from; predicts whole plans, and its `ratio_error` says how well.
    """

    offers: tuple[float, ...]
    other: float
    model: LatencyModel

    @property
    def original(self) -> float:
        """Measured milliseconds of the original."""
        return self.model.original_ms


def milliseconds(
    prices: PriceList,
    model: nn.Module,
    task: Task,
    target: str | Target = "onnxruntime",
    table: LatencyTable | None = None,
    *,
    check: Sequence[Plan] = (),
    graph: Graph | None = None,
) -> Milliseconds:
    """Returns what each offer of a price list takes on the target.

    An offer that the runtime cannot use, such as weights that it decodes when it loads the model, takes as long as the
    layer as it is.

    Args:
        prices: of the model.
        model: the original; exported and measured once.
        task: gives an example.
        target: the runtime, its threads and its batch size.
        table: times of layers; None: that of this machine.
        check: plans that are measured to check and correct the predictions.
        graph: of an earlier `capture`.

    Guarantees:
        The first offers of all layers and `other` add up to the original's predicted time.
    """
    predictor = latency_model(model, task, target=target, table=table, plans=check, graph=graph)
    whole = predictor.predict(Plan())
    found = tuple(_own(whole, offer.layer, _alone(predictor, offer)) for offer in prices.offers)
    kept = sum(whole.by_layer.get(layer, 0.0) for layer in prices.layers)
    return Milliseconds(offers=found, other=whole.milliseconds - kept, model=predictor)


def _alone(predictor: LatencyModel, offer: Offer) -> Prediction | None:
    return None if offer.edit is None else predictor.predict(Plan.of([offer.edit]))


def _own(whole: Prediction, layer: str, changed: Prediction | None) -> float:
    """Returns a layer's time under a change; what the change saves or costs elsewhere counts as the layer's."""
    as_it_is = whole.by_layer.get(layer, 0.0)
    return as_it_is if changed is None else max(0.0, as_it_is + changed.milliseconds - whole.milliseconds)
