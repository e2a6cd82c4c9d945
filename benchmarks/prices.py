"""Predicted against measured nats, for every offer of the price list on its own and for whole plans.

Every offer is measured alone, by KL(original || changed) on 256 calibration images behind those of the evidence. The
rank correlation (Spearman) is over all offers; the ratio of sums, predicted over measured, over the offers that no
correction has seen. `plans` are the same bits for all layers: the sum of prices over the KL of the whole change.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn

import laconic
import manner
import networks
from laconic import demo
from laconic.core.plan import Plan
from laconic.quantize import CompensatedRounding
from laconic.select import PriceList, Yardstick, price

EVIDENCE, MEASURED, BATCH = 1024, 256, 128
ROWS = ("resnet20", "digits")


def cifar(depth: int) -> tuple[nn.Module, laconic.Task]:
    images, _ = networks.cifar_images("train")
    inputs = networks.cifar_inputs(images[: EVIDENCE + MEASURED])
    return networks.cifar_resnet(depth), laconic.Task(evaluate=list(inputs.split(BATCH)))


def digits() -> tuple[nn.Module, laconic.Task]:
    """The demo's own network, trained on real handwriting in seconds."""
    task = demo.digits()
    model = demo.trained_network(task)
    inputs = torch.cat([batch.args[0] for batch in task.batches("train")])
    return model, laconic.Task(evaluate=list(inputs.split(BATCH)))


def compared(model: nn.Module, task: laconic.Task, prices: PriceList, skip: int) -> dict[str, Any]:
    """Returns how well prices stand for measurements."""
    yardstick = Yardstick.of(model, task, samples=MEASURED, skip=skip)

    def measured(plan: Plan) -> float:
        return yardstick.nats(laconic.apply(model, plan).eval())

    offers = [offer for offer in prices.offers if offer.edit is not None]
    truth = [measured(Plan.of([offer.edit])) for offer in offers if offer.edit]
    unseen = [(o, t) for o, t in zip(offers, truth, strict=True) if o.measured_nats is None]
    plans = {}
    for bits in (4, 3, 2):
        same = [o for o in offers if isinstance(o.technique, CompensatedRounding) and o.technique.bits == bits]
        whole = measured(Plan.of(o.edit for o in same if o.edit))
        plans[f"w{bits}"] = round(sum(o.nats for o in same) / whole, 3)
    return {
        "offers": len(offers),
        "rank_correlation": round(float(spearmanr([o.nats for o in offers], truth).statistic), 4),
        "rank_correlation_uncorrected": round(float(spearmanr([o.predicted_nats for o in offers], truth).statistic), 4),
        "sum_ratio": round(sum(o.nats for o, _ in unseen) / sum(t for _, t in unseen), 3),
        "sum_ratio_uncorrected": round(sum(o.predicted_nats for o, _ in unseen) / sum(t for _, t in unseen), 3),
        "plans": plans,
    }


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=1)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    manner.line("network", "rank", "sums", "seconds")
    for row in given.rows:
        model, task = cifar(20) if row == "resnet20" else digits()
        evidence = laconic.calibrate(model, task, samples=EVIDENCE, activations=False)
        started = time.process_time()
        prices = price(model, task, evidence=evidence, samples=MEASURED)
        seconds = time.process_time() - started
        found = {**compared(model, task, prices, EVIDENCE), "seconds": round(seconds, 1)}
        manner.line(row, found["rank_correlation"], found["sum_ratio"], found["seconds"])
        results[row] = found
    manner.finish(results)


if __name__ == "__main__":
    main()
