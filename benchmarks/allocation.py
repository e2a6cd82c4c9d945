"""One plan out of all techniques beside the best of each technique alone, at the same size, without training.

Public CIFAR-10 ResNets, 1,024 unlabelled training images (256 more to correct the prices), top-1 in percent on the
10,000 test images. Sizes are those of all parameters and buffers, as a fraction of float32; each row is chosen by the
same price list and allocation, restricted to its techniques, and coded layer after layer. `uniform_bits` is the
largest number of bits for all layers that fits. A row that nothing can meet is null. `disk` is what lies on disk.
With `--write` each row goes into results/allocation.json as soon as it is there, and those that are there are left out.
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


def measured(row: str, seed: int, model: nn.Module, data: laconic.Task, prices: PriceList) -> dict[str, Any] | None:
    """Returns one row for one seed; None where nothing fits."""
    _, size, family = parts(row)
    choice = chosen(prices, family, SIZES[size])
    if choice is None:
        manner.line(row, seed, "-", "-", "-", "-")
        return None
    plan = carried_out(model, data, choice, samples=EVIDENCE)
    changed = laconic.apply(model, plan)
    found = {"top1": networks.top1(changed), "bytes": choice.size_bytes, "disk": on_disk(changed, plan)}
    manner.line(row, seed, *found.values(), f"{choice.nats:.4f}")
    return found


def parts(row: str) -> tuple[str, str, str]:
    """Returns network, size and family."""
    network, rest = row.split("/", 1)
    size, family = rest.rsplit("/", 1)
    return network, size, family


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns network -> size -> family -> one entry a seed."""
    results: dict[str, Any] = {}
    for name, found in rows.items():
        if name.endswith("/float"):
            results.setdefault(name.removesuffix("/float"), {})["float"] = found
            continue
        network, size, family = parts(name.split(" ")[0])
        results.setdefault(network, {}).setdefault(size, {}).setdefault(family, []).append(found)
    return results


def main() -> None:
    """Runs the rows; with `--write`, those that are not among the results yet."""
    given = manner.options(__doc__ or "", ROWS, seeds=3, writes=True)
    torch.set_num_threads(1)
    rows: dict[str, Any] = manner.kept()["rows"] if given.write else {}
    listed: dict[tuple[str, int], tuple[nn.Module, laconic.Task, PriceList]] = {}

    def note(name: str, found: Any) -> None:
        rows[name] = found
        if given.write:
            manner.keep(name, found, summary)

    manner.line("row", "seed", "top-1", "bytes", "disk", "nats")
    for row, seed in ((row, seed) for seed in given.seeds for row in given.rows):
        network, name = parts(row)[0], f"{row} seed {seed}"
        if name in rows:
            continue
        if (network, seed) not in listed:
            listed[network, seed] = priced(network, seed)
        model, data, prices = listed[network, seed]
        if f"{network}/float" not in rows:
            note(f"{network}/float", networks.top1(model))
        note(name, measured(row, seed, model, data, prices))
    manner.finish(summary(rows))


def priced(network: str, seed: int) -> tuple[nn.Module, laconic.Task, PriceList]:
    """Returns a network, its data and its price list."""
    model = networks.cifar_resnet(int(network.removeprefix("resnet")))
    data = networks.cifar_task(EVIDENCE + MEASURED, seed=seed)
    evidence = laconic.calibrate(model, data, samples=EVIDENCE, activations=False)
    return model, data, price(model, data, evidence=evidence, samples=MEASURED)


if __name__ == "__main__":
    main()
