"""CIFAR-10 ResNets with zeros among their weights, with 1,024 unlabelled training images and no training.

Top-1 in percent on the 10,000 test images; all weights count, the first and the last layer's too. `magnitude`, `wanda`
and `obd` leave what remains as it is. `compensated` is the sweep (SparseGPT) with a last fit, `alternating` the default
of `laconic.sparsify`; `..._in_order` also fits each layer to the inputs that the layers before leave it and corrects
batch statistics, `..._corrected` does the latter alone (`laconic.correct`). Distributions are the defaults;
`magnitude_global` is one threshold for all layers. `kept` is the share of what magnitude pruning loses that a row
keeps. With `--write` each row goes into results/sparsity.json as soon as it is there.
"""

from __future__ import annotations

import time
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
    "magnitude_corrected": {"method": "magnitude", "correct": True},
    "wanda": {"method": "wanda"},
    "wanda_corrected": {"method": "wanda", "correct": True},
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
    settings, model, task = dict(ROWS[name]), original(depth), networks.cifar_task(IMAGES)
    corrects = settings.pop("correct", False)
    if ":" in level:
        settings |= {"pattern": level, "distribution": None}
    else:
        settings["sparsity"] = int(level) / 100
    plan = laconic.sparsify(model, task, evidence=evidence(depth), **settings)
    return laconic.correct(model, plan, task) if corrects else plan


def zeros(depth: int, plan: laconic.Plan) -> float:
    """Returns the share of zeros among all weights."""
    sizes = {name: p.numel() for name, p in original(depth).named_parameters()}
    shares = sparsity_of(plan)
    return sum(share * sizes[name] for name, share in shares.items()) / sum(sizes[name] for name in shares)


def kept(found: dict[str, float], whole: float) -> dict[str, float]:
    """Returns the share of what magnitude pruning loses that each row keeps."""
    lost = whole - found["magnitude"]
    return {name: round((value - found["magnitude"]) / lost, 3) for name, value in found.items() if lost > 0}


def measured(row: str) -> dict[str, Any]:
    """Returns one row: top-1, zeros among all weights, bytes, and processor seconds for plan and test together."""
    begun = time.process_time()
    network, level, name = row.split("/")
    depth = int(network.removeprefix("resnet"))
    plan = planned(depth, level, name)
    accuracy = networks.top1(laconic.apply(original(depth), plan))
    return {
        "top1": accuracy,
        "zeros": round(zeros(depth, plan), 4),
        "bytes": sum(edit.coding.size_bytes for edit in plan.recodes),
        "seconds": round(time.process_time() - begun),
    }


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns the last line."""
    found: dict[str, Any] = {}
    for row, one in rows.items():
        network, level, name = row.split("/")
        nested = found.setdefault(network, {"float": networks.TOP1[network]})
        nested.setdefault(level, {})[name] = one["top1"]
    for nested in found.values():
        for level in set(LEVELS) & nested.keys():
            if "magnitude" in nested[level]:
                nested[level]["kept"] = kept(nested[level], nested["float"])
    return found


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", NAMES, seeds=1, writes=True)
    torch.set_num_threads(1)
    widths = [38, 10, 10, 14, 10]
    manner.line("row", "top-1", "zeros", "bytes", "seconds", widths=widths)
    rows: dict[str, Any] = {}
    for row in given.rows:
        rows[row] = measured(row)
        manner.line(row, *rows[row].values(), widths=widths)
        if given.write:
            manner.keep(row, rows[row], summary)
    manner.finish(summary(rows))


if __name__ == "__main__":
    main()
