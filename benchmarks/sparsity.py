"""CIFAR-10 ResNets with zeros among their weights, with 1,024 unlabelled training images and no training.

Top-1 in percent on the 10,000 test images; all weights count, the first and the last layer's too. `magnitude`, `wanda`
and `obd` leave what remains as it is. `compensated` is the sweep (SparseGPT) with a last fit, `alternating` the default
of `laconic.sparsify`; `..._in_order` also fits each layer to the inputs that the layers before leave it and corrects
batch statistics. Distributions are the defaults; `magnitude_global` is one threshold for all layers. `kept` is the
share of what magnitude pruning loses that a row keeps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

import laconic
import manner
import networks
from laconic.prune.weights import sparsity_of

IMAGES = 1024
DEPTHS, LEVELS = (20, 56, 32), ("70", "50", "80", "90", "2:4")
ROWS: dict[str, dict[str, Any]] = {
    "magnitude": {"method": "magnitude"},
    "magnitude_global": {"method": "magnitude", "distribution": "global"},
    "wanda": {"method": "wanda"},
    "obd": {"method": "obd", "distribution": "global"},
    "compensated": {"method": "compensated"},
    "compensated_in_order": {"method": "compensated", "in_order": True},
    "alternating": {},
    "alternating_in_order": {"in_order": True},
}
NAMES = [f"resnet{depth}/{level}/{name}" for depth in DEPTHS for level in LEVELS for name in ROWS]


@cache
def original(depth: int) -> nn.Module:
    return networks.cifar_resnet(depth)


@cache
def evidence(depth: int) -> laconic.Evidence:
    return laconic.calibrate(original(depth), networks.cifar_task(IMAGES), samples=IMAGES, activations=False)


def planned(depth: int, level: str, name: str) -> laconic.Plan:
    """Returns the plan of one row."""
    settings = dict(ROWS[name])
    if ":" in level:
        settings |= {"pattern": level, "distribution": None}
    else:
        settings["sparsity"] = int(level) / 100
    return laconic.sparsify(original(depth), networks.cifar_task(IMAGES), evidence=evidence(depth), **settings)


def zeros(depth: int, plan: laconic.Plan) -> float:
    """Returns the share of zeros among all weights."""
    sizes = {name: p.numel() for name, p in original(depth).named_parameters()}
    shares = sparsity_of(plan)
    return sum(share * sizes[name] for name, share in shares.items()) / sum(sizes[name] for name in shares)


def kept(found: dict[str, float], whole: float) -> dict[str, float]:
    """Returns the share of what magnitude pruning loses that each row keeps."""
    lost = whole - found["magnitude"]
    return {name: round((value - found["magnitude"]) / lost, 3) for name, value in found.items() if lost > 0}


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", NAMES, seeds=1)
    torch.set_num_threads(1)
    manner.line("row", "top-1", "zeros", "bytes", widths=[38, 10, 10, 14])
    results: dict[str, Any] = {}
    for row in given.rows:
        network, level, name = row.split("/")
        depth = int(network.removeprefix("resnet"))
        found = results.setdefault(network, {"float": networks.top1(original(depth))} if network not in results else {})
        plan = planned(depth, level, name)
        accuracy = networks.top1(laconic.apply(original(depth), plan))
        size = sum(edit.coding.size_bytes for edit in plan.recodes)
        found.setdefault(level, {})[name] = accuracy
        manner.line(row, accuracy, f"{zeros(depth, plan):.4f}", f"{size:,}", widths=[38, 10, 10, 14])
    for found in results.values():
        for level in LEVELS:
            if "magnitude" in found.get(level, {}):
                found[level]["kept"] = kept(found[level], found["float"])
    manner.finish(results)


if __name__ == "__main__":
    main()
