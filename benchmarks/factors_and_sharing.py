"""Low rank and shared weights on a CIFAR-10 ResNet-20, with 1,024 unlabelled training images and no training.

Top-1 in percent on the 10,000 test images (91.73 as it is); `parameters` and `bytes` are shares of the original's, the
bytes those of all weights as they are stored. Factorisations save so much of the parameters, shared out over the layers
by price; sharing takes every layer that becomes smaller by it. Nothing is fitted in order but rows that end in
`in_order`; those that end in `corrected` have batch statistics and biases corrected. With `--write` each row goes
into results/factors_and_sharing.json as soon as it is there.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import torch

import laconic
import manner
import networks
from laconic.factorize import SVD, ActivationAwareSVD, CanonicalPolyadic, Factorization, Tucker2
from laconic.share import AcrossDepth, HashedSharing, SparseDictionary

IMAGES = 1024
FACTORS: dict[str, Factorization] = {
    "activation_aware": ActivationAwareSVD(),
    "svd": SVD(),
    "tucker": Tucker2(),
    "canonical": CanonicalPolyadic(),
}
SHARING: dict[str, SparseDictionary | HashedSharing | AcrossDepth] = {
    "dictionary/2": SparseDictionary(nonzeros=2),
    "dictionary/3": SparseDictionary(nonzeros=3),
    "hashed/2": HashedSharing(compression=2),
    "across_depth/0.13": AcrossDepth(save=0.13),
}
IN_ORDER, CORRECTED = ("dictionary/2", "hashed/2"), ("hashed/2", "across_depth/0.13")
ROWS = [
    *(f"{name}/{ratio}" for ratio in (0.1, 0.2) for name in FACTORS),
    *SHARING,
    *(f"{name}/in_order" for name in IN_ORDER),
    *(f"{name}/corrected" for name in CORRECTED),
]


@cache
def evidence() -> laconic.Evidence:
    return laconic.calibrate(networks.cifar_resnet(20), networks.cifar_task(IMAGES), samples=IMAGES, activations=False)


def planned(row: str) -> laconic.Plan:
    """Returns the plan of one row."""
    model, task = networks.cifar_resnet(20), networks.cifar_task(IMAGES)
    if row.endswith("/corrected"):
        return laconic.correct(model, planned(row.removesuffix("/corrected")), task)
    technique, in_order = SHARING.get(row.removesuffix("/in_order")), row.endswith("/in_order")
    if isinstance(technique, AcrossDepth):
        return laconic.Plan.of(technique.edits(model, evidence()))
    if technique is not None:
        return laconic.share(model, task, method=technique, in_order=in_order, evidence=evidence())
    name, ratio = row.split("/")
    return laconic.factorize(model, task, ratio=float(ratio), method=FACTORS[name], evidence=evidence())


def measured(row: str) -> dict[str, Any]:
    """Returns one row."""
    begun, model = time.process_time(), networks.cifar_resnet(20)
    plan = planned(row)
    changed, whole = laconic.apply(model, plan), sum(p.numel() for p in model.parameters())
    coded = {edit.parameter: edit.coding for edit in plan.recodes}
    stored = sum(coded[n].size_bytes if n in coded else 4 * p.numel() for n, p in changed.named_parameters())
    return {
        "top1": networks.top1(changed),
        "parameters": round(sum(p.numel() for p in changed.parameters()) / whole, 4),
        "bytes": round(stored / (4 * whole), 4),
        "seconds": round(time.process_time() - begun),
    }


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=1, writes=True)
    torch.set_num_threads(1)
    manner.line("row", "top-1", "parameters", "bytes", "seconds")
    rows: dict[str, Any] = {}
    for row in given.rows:
        rows[row] = measured(row)
        manner.line(row, *rows[row].values())
        if given.write:
            manner.keep(row, rows[row], dict)
    manner.finish(rows)


if __name__ == "__main__":
    main()
