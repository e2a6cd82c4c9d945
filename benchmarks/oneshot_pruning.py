"""CIFAR-10 ResNets at 1.5 and 2.1 times fewer MACs, with 1,024 unlabelled training images and no training.

Top-1 in percent on the 10,000 test images. `laconic` is the default of `laconic.prune`; `laconic_in_three_steps` finds
importance anew after each third of the way, with no training in between either. Every other criterion comes
as it is usually used: the same fraction of every axis, then batch-norm statistics taken anew; `l1_cut` without even
that; `l1_compensated` with Laconic's compensation.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

import laconic
import manner
import networks
from laconic.prune import (
    Activation,
    Apoz,
    BatchNormScale,
    Fisher,
    GeometricMedian,
    Importance,
    Lamp,
    Magnitude,
    Random,
    Taylor,
    gradually,
)

IMAGES, BATCH = 1024, 128
FACTORS = ("2.1", "1.5")
CRITERIA: dict[str, Importance | None] = {
    "laconic": None,
    "laconic_in_three_steps": None,
    "l1": Magnitude(),
    "l1_cut": Magnitude(),
    "l1_compensated": Magnitude(),
    "l2": Magnitude(norm=2),
    "lamp": Lamp(),
    "geometric_median": GeometricMedian(),
    "batch_norm_scale": BatchNormScale(),
    "fisher": Fisher(),
    "taylor": Taylor(),
    "activation": Activation(),
    "apoz": Apoz(),
    "random": Random(),
}
COMPENSATION: dict[str, Literal["weights"] | None] = {"laconic": "weights", "l1_compensated": "weights", "l1_cut": None}
ROWS = [f"resnet{depth}/{factor}/{name}" for depth in (56, 20) for factor in FACTORS for name in CRITERIA]


@cache
def original(depth: int) -> nn.Module:
    return networks.cifar_resnet(depth)


@cache
def task() -> laconic.Task:
    images, _ = networks.cifar_images("train")
    inputs = networks.cifar_inputs(images[:IMAGES])
    return laconic.Task(evaluate=list(inputs.split(BATCH)))


@cache
def evidence(depth: int) -> laconic.Evidence:
    return laconic.calibrate(original(depth), task(), samples=IMAGES, activations=False)


@cache
def test_images() -> tuple[Tensor, Tensor]:
    return networks.cifar_images("test")


def top1(model: nn.Module) -> float:
    """Returns the percentage of test images that are classified correctly."""
    images, labels = test_images()
    with torch.no_grad():
        answers = torch.cat([model(networks.cifar_inputs(part)).argmax(1) for part in images.split(500)])
    return round(100 * float((answers == labels).double().mean()), 2)


def pruned(depth: int, factor: str, name: str) -> laconic.Pruned:
    """Returns one network, pruned."""
    if name == "laconic_in_three_steps":
        ratio = 1 - 1 / float(factor)
        return gradually(original(depth), task(), ratio=ratio, steps=3, schedule="linear", samples=IMAGES)
    return laconic.prune(
        original(depth),
        task(),
        ratio=1 - 1 / float(factor),
        importance=CRITERIA[name],
        scope="global" if name in ("laconic", "lamp", "batch_norm_scale") else "layer",
        compensate=COMPENSATION.get(name, "statistics"),
        samples=IMAGES,
        evidence=evidence(depth) if name in ("laconic", "fisher") else None,
    )


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=1)
    manner.line("row", "top-1", "MACs", "parameters", "form")
    results: dict[str, Any] = {}
    for row in given.rows:
        network, factor, name = row.split("/")
        depth = int(network.removeprefix("resnet"))
        found = pruned(depth, factor, name)
        accuracy = top1(found.model)
        results.setdefault(network, {}).setdefault(factor, {})[name] = accuracy
        manner.line(row, accuracy, f"{found.macs_ratio:.3f}", f"{found.parameters_ratio:.3f}", found.kind)
    manner.finish(results)


if __name__ == "__main__":
    main()
