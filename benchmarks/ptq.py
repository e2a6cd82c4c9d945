"""CIFAR-10 ResNets in few bits, with 1,024 unlabelled training images and no training on labels.

Top-1 in percent on the 10,000 test images, every layer coded, the first and the last included, one scale an output
channel. Activations have one range a tensor: `a8` and `a4` are what layers read, the image included, but in
`w4a4_first8`; what convolutions hand to an addition keeps 8 bits. A seed chooses the images. `rtn` rounds to the
nearest point of the full range, `mse` of the range with the least squared error at the layer's output: with float
activations both run with the first seed alone. `compensated` is the default of `laconic.quantize`, `in_order` and
`reconstructed` are its options. With `--write` each row goes into results/ptq.json as soon as it is there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from statistics import mean
from typing import Any

import torch
from torch import nn

import laconic
import manner
import networks
from laconic.quantize import BlockReconstruction, CompensatedRounding, LeastError, MinMax, Range, RoundActivations

IMAGES = 1024
CELLS: dict[str, tuple[int, RoundActivations | None]] = {
    "w8": (8, None),
    "w4": (4, None),
    "w3": (3, None),
    "w2": (2, None),
    "w8a8": (8, RoundActivations(bits=8)),
    "w4a8": (4, RoundActivations(bits=8)),
    "w4a4": (4, RoundActivations(bits=4)),
    "w4a4_first8": (4, RoundActivations(bits=4, first_bits=8)),
}
METHODS = ("rtn", "mse", "compensated", "in_order", "reconstructed")
ROUNDED: dict[str, Range] = {"rtn": MinMax(), "mse": LeastError()}
ROWS = [f"resnet{depth}/{cell}/{method}" for depth in (20, 32, 56) for cell in CELLS for method in METHODS]


@cache
def original(depth: int) -> nn.Module:
    return networks.cifar_resnet(depth)


def task(seed: int) -> laconic.Task:
    return networks.cifar_task(IMAGES, seed=seed)


@cache
def evidence(depth: int, seed: int, activations: bool) -> laconic.Evidence:
    return laconic.calibrate(original(depth), task(seed), samples=IMAGES, gradients=False, activations=activations)


@cache
def plan(depth: int, cell: str, method: str, seed: int) -> laconic.Plan:
    """Returns how one network is coded."""
    if method == "reconstructed":  # What `reconstruct=True` does, without coding in order twice.
        first, encode = plan(depth, cell, "in_order", seed), CompensatedRounding(bits=CELLS[cell][0]).encode
        return BlockReconstruction().improve(original(depth), first, task(seed), encode=encode)
    bits, activations = CELLS[cell]
    return laconic.quantize(
        original(depth),
        task(seed),
        bits=bits,
        activations=activations,
        range=ROUNDED.get(method),
        compensate=method not in ROUNDED,
        in_order=method == "in_order",
        evidence=evidence(depth, seed, activations is not None),
    )


def measured(row: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Returns one row: top-1 with each seed, and the mean of the processor seconds for plan and test together."""
    network, cell, method = row.split("/")
    depth = int(network.removeprefix("resnet"))
    begun, found = time.process_time(), []
    for seed in seeds if method not in ROUNDED or "a" in cell else seeds[:1]:
        found.append(networks.top1(laconic.apply(original(depth), plan(depth, cell, method, seed))))
    return {"top1": found, "seconds": round((time.process_time() - begun) / len(found))}


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns the last line."""
    found: dict[str, Any] = {}
    for row, one in rows.items():
        network, cell, method = row.split("/")
        nested = found.setdefault(network, {"float": networks.TOP1[network]})
        nested.setdefault(cell, {})[method] = round(mean(one["top1"]), 2)
    return found


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=3, writes=True)
    torch.set_num_threads(1)
    manner.line("row", "top-1", "each seed", "seconds", widths=(32, 10, 28, 10))
    rows: dict[str, Any] = {}
    for row in given.rows:
        rows[row] = one = measured(row, given.seeds)
        manner.line(row, f"{mean(one['top1']):.2f}", one["top1"], one["seconds"], widths=(32, 10, 28, 10))
        if given.write:
            manner.keep(row, one, summary)
    manner.finish(summary(rows))


if __name__ == "__main__":
    main()
