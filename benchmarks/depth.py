"""Blocks that the CIFAR-10 ResNet-56 does without: 3, 6 and 9 of its 27, with 1,024 unlabelled images, no training.

Top-1 in percent, on 2,000 training images that nothing was fitted to and on the 10,000 test images. `laconic` is the
order in which `laconic.remove_blocks` takes blocks, `random` any order (one a seed); `cut` leaves the rest as it was,
`refit` fits it to the original's activations. Random orders are run over the test images for the first seed alone.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import laconic
import manner
import networks
from laconic.graph import Graph, capture
from laconic.graph.blocks import blocks
from laconic.prune import remove_blocks

IMAGES, PRICED, HELD_BACK, BATCH = 1024, 256, 2000, 128
COUNTS = (3, 6, 9)
ROWS = [f"{order}/{fit}" for order in ("laconic", "random") for fit in ("refit", "cut")]


@cache
def original() -> nn.Module:
    return networks.cifar_resnet(56)


@cache
def task() -> laconic.Task:
    images, _ = networks.cifar_images("train")
    return laconic.Task(evaluate=list(networks.cifar_inputs(images[:IMAGES]).split(BATCH)))


@cache
def graph() -> Graph:
    return capture(original(), next(task().batches("calibrate", limit=4)).args)


@cache
def images(part: str) -> tuple[Tensor, Tensor]:
    """Returns the held-back training images, or the test images."""
    if part == "test":
        return networks.cifar_images("test")
    found, labels = networks.cifar_images("train")
    return found[-HELD_BACK:], labels[-HELD_BACK:]


def top1(model: nn.Module, part: str) -> float:
    """Returns the percentage of images that are classified correctly."""
    found, labels = images(part)
    with torch.no_grad():
        answers = torch.cat([model(networks.cifar_inputs(piece)).argmax(1) for piece in found.split(500)])
    return round(100 * float((answers == labels).double().mean()), 2)


@cache
def order(seed: int | None) -> tuple[str, ...]:
    """Returns the blocks in the order in which they go; without a seed, the order that Laconic takes."""
    if seed is None:
        chosen = remove_blocks(original(), task(), count=max(COUNTS), compensate=None, priced_on=PRICED, graph=graph())
        return tuple(chosen.removed)
    branches = [block.name for block in blocks(graph()) if block.kind == "branch"]
    return tuple(random.Random(seed).sample(branches, max(COUNTS)))


def measured(count: int, seed: int | None, fit: str, *, test: bool) -> dict[str, Any]:
    """Returns the figures of one network."""
    compensate: Any = "weights" if fit == "refit" else None
    found = remove_blocks(
        original(),
        task(),
        names=order(seed)[:count],
        compensate=compensate,
        samples=IMAGES,
        priced_on=PRICED,
        graph=graph(),
    )
    figures: dict[str, Any] = {"held_back": top1(found.model, "held back"), "macs": round(found.macs_ratio, 3)}
    if test:
        figures["test"] = top1(found.model, "test")
    if seed is None:
        figures["removed"] = list(found.removed)
    manner.line(
        f"{count} {fit} {'laconic' if seed is None else f'random {seed}'}",
        *[figures.get(key, "") for key in ("held_back", "macs", "test")],
    )
    return figures


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=3)
    manner.line("blocks", "held back", "MACs", "test")
    results: dict[str, Any] = {"original": {"held_back": top1(original(), "held back")}}
    for row in given.rows:
        name, fit = row.split("/")
        seeds: list[int | None] = [None] if name == "laconic" else list(given.seeds)
        for count in COUNTS:
            for seed in seeds:
                key = name if seed is None else f"{name}_{seed}"
                test = fit == "refit" and not seed
                results.setdefault(str(count), {})[f"{key}_{fit}"] = measured(count, seed, fit, test=test)
    manner.finish(results)


if __name__ == "__main__":
    main()
