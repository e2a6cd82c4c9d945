"""One plan out of all techniques beside the best of each technique alone, at the same size, without training.

Public CIFAR-10 ResNets, 1,024 unlabelled training images (256 more to correct the prices), top-1 in percent on the
10,000 test images. Sizes are those of all parameters and buffers, as a fraction of float32; each row is chosen by the
same price list and allocation, restricted to its techniques, and coded layer after layer. `uniform_bits` is the
largest number of bits for all layers that fits. A row that nothing can meet is null. `disk` is what lies on disk.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import laconic
import manner
import networks
from laconic.core.budget import Budget
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.core.state import save_state
from laconic.quantize import CompensatedRounding
from laconic.select import Choice, PriceList, allocate, carried_out, price
from laconic.select.allocate import choice_of
from laconic.select.menu import CODEBOOKS, GRIDS, LOW_RANK, SPARSE

EVIDENCE, MEASURED = 1024, 256
SIZES = {"1/8": 1 / 8, "1/12": 1 / 12, "1/16": 1 / 16, "1/24": 1 / 24}
FAMILIES: dict[str, tuple[Any, ...] | None] = {
    "joint": None,
    "uniform_bits": GRIDS,
    "mixed_bits": GRIDS,
    "codebook": CODEBOOKS,
    "sparsity": SPARSE,
    "low_rank": LOW_RANK,
}
ROWS = [f"resnet{depth}/{size}/{name}" for depth in (20, 56) for size in SIZES for name in FAMILIES]


def chosen(prices: PriceList, family: str, share: float) -> Choice | None:
    """Returns the choice of one row; None where nothing fits."""
    techniques = FAMILIES[family]
    offered = prices if techniques is None else prices.among(techniques)
    if family != "uniform_bits":
        try:
            return allocate(offered, Budget(size=share))
        except UsageError:
            return None
    for technique in GRIDS:
        assert isinstance(technique, CompensatedRounding)
        same = choice_of(offered, [o for o in offered.offers if o.technique == technique])
        if same.size_bytes <= share * prices.size_bytes:
            return same
    return None


def on_disk(network: nn.Module, plan: Plan) -> int:
    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder), network, plan)
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=3)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    listed: dict[tuple[int, int], PriceList] = {}
    manner.line("row", "seed", "top-1", "bytes", "disk", "nats")
    for row in given.rows:
        network, size, family = row[: row.index("/")], row[row.index("/") + 1 : row.rindex("/")], row.split("/")[-1]
        depth = int(network.removeprefix("resnet"))
        model = networks.cifar_resnet(depth)
        cells = results.setdefault(network, {"float": networks.top1(model)}).setdefault(size, {}).setdefault(family, [])
        for seed in given.seeds:
            data = networks.cifar_task(EVIDENCE + MEASURED, seed=seed)
            if (depth, seed) not in listed:
                evidence = laconic.calibrate(model, data, samples=EVIDENCE, activations=False)
                listed[depth, seed] = price(model, data, evidence=evidence, samples=MEASURED)
            choice = chosen(listed[depth, seed], family, SIZES[size])
            if choice is None:
                manner.line(row, seed, "-", "-", "-", "-")
                cells.append(None)
                continue
            plan = carried_out(model, data, choice, samples=EVIDENCE)
            changed = laconic.apply(model, plan)
            found = {"top1": networks.top1(changed), "bytes": choice.size_bytes, "disk": on_disk(changed, plan)}
            manner.line(row, seed, *found.values(), f"{choice.nats:.4f}")
            cells.append(found)
    manner.finish(results)


if __name__ == "__main__":
    main()
