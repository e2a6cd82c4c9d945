"""Milliseconds of random plans in ONNX Runtime, predicted from a table of layers and measured.

Three networks: the public CIFAR-10 ResNet-20; a transformer encoder (4 layers of width 128, 4 heads, 64 tokens); a
MobileNet-like net of inverted residuals on 64x64 pixels. 30 random plans each: channels cut at random ratios, low
rank at random ranks, weights in 8 and 4 bits, activations and weights in 8 bits, and all of these together. One
sample, one thread. Every candidate is measured beside the original, in turns; the ratio of the two is compared with
the predicted one. The weights' values do not matter for time, so all but ResNet-20's are random. `unchecked` is
predicted from the layers and the original alone; `checked` also from CHECKED other plans that were measured. With
`--write` every measured plan is kept in results/latency_model.json, and a run that was stopped goes on behind it.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

import laconic
import manner
import networks
from laconic.calibrate import calibrate, layers
from laconic.core.edit import Edit, Swap
from laconic.core.plan import Plan
from laconic.export.onnxruntime import Session, export
from laconic.export.onnxruntime.latency_table import LatencyTable
from laconic.factorize import SVD
from laconic.graph import capture
from laconic.measure import latency, ratio
from laconic.prune import prune
from laconic.quantize import RoundToNearest
from laconic.quantize.activations import RoundActivations
from laconic.select.latency import LatencyModel, latency_model

PLANS, CHECKED, ROUNDS, SECONDS = 30, 4, 100, 20.0  # --seeds counts the plans, those to check included
NETWORKS = ("resnet20", "transformer", "mobilenet")


class Inverted(nn.Module):
    """Sandler et al. 2018, arXiv:1801.04381, figure 3b."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.shortcut = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class Block(nn.Module):
    """Vaswani et al. 2017, arXiv:1706.03762, section 3.1, normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.narrow(functional.relu(self.wide(self.second(x))))


class Encoder(nn.Module):
    """Some blocks, and a mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(128, 4) for _ in range(4)))
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(1))


def network(name: str) -> tuple[nn.Module, laconic.Task]:
    """Returns a network and its data."""
    torch.manual_seed(0)
    if name == "resnet20":
        return networks.cifar_resnet(20), networks.cifar_task(32, batch=8)
    if name == "transformer":
        return Encoder().eval(), laconic.Task(evaluate=[torch.randn(8, 64, 128) for _ in range(4)])
    blocks = [Inverted(*shape) for shape in ((16, 24, 2), (24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 96, 2))]
    stem = (nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))
    task = laconic.Task(evaluate=[torch.randn(8, 3, 64, 64) for _ in range(4)])
    return nn.Sequential(*stem, *blocks, *head).eval(), task


def random_plan(model: nn.Module, task: laconic.Task, seed: int) -> Plan:
    """Returns a plan of one to three kinds of change, each at random levels."""
    draw = random.Random(seed)
    kinds = draw.sample(("cut", "low_rank", "integer"), draw.choice((1, 1, 2, 3)))
    plan = Plan.of(_low_rank(model, draw)) if "low_rank" in kinds else Plan()
    if "cut" in kinds:
        inputs = next(task.batches("evaluate")).inputs[0]
        changed = laconic.apply(model, plan)
        plan += prune(changed, inputs, ratio=draw.uniform(0.1, 0.6), round_to=draw.choice((1, 4, 8, 16))).plan
    changed = laconic.apply(model, plan)
    if "integer" in kinds:
        return plan + _integer(changed, task, draw.choice((1.0, 1.0, 0.7)), draw)
    bits = {layer: draw.choice((None, 8, 4)) for layer in layers(changed)}
    tensors = dict(changed.named_parameters())
    coded = [RoundToNearest(bits=b).edit(tensors[one.parameter], one) for one, b in bits.items() if b]
    return plan + Plan.of(coded)


def _low_rank(model: nn.Module, draw: random.Random) -> list[Edit]:
    found: list[Edit] = []
    modules: dict[str, Any] = dict(model.named_modules())
    share = draw.uniform(0.2, 0.8)
    for layer in layers(model):
        path = layer.parameter.removesuffix(".weight")
        made = SVD().decompose(modules[path], layer) if isinstance(modules.get(path), nn.Linear | nn.Conv2d) else None
        if made and made.levels and draw.random() < share:
            found.append(Swap(path, made.spec(draw.choice(made.levels))))
    return found


def _integer(model: nn.Module, task: laconic.Task, share: float, draw: random.Random) -> Plan:
    example = next(task.batches("evaluate"))
    evidence = calibrate(model, task, gradients=False)
    tensors = dict(model.named_parameters())
    taken = [layer for layer in layers(model) if draw.random() < share]
    weights: list[Edit] = [RoundToNearest().edit(tensors[one.parameter], one) for one in taken]
    graph = capture(model, example.args, example.kwargs)
    return Plan.of(weights) + Plan.of(RoundActivations().edits(model, graph, evidence))


def measured(model: nn.Module, task: laconic.Task, plans: list[Plan]) -> list[float]:
    """Returns the time of each plan's exported model over that of the original, the two in turns."""
    batch = next(task.batches("evaluate")).first(1)
    arrays = [tensor.numpy() for tensor in batch.inputs]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        original = Session(export(model, Plan(), task, batch, Path(folder) / "original.onnx").path)
        for plan in plans:
            path = export(laconic.apply(model, plan), plan, task, batch, Path(folder) / "changed.onnx").path
            changed = Session(path)
            calls = {"original": lambda: original.run(arrays), "changed": lambda one=changed: one.run(arrays)}
            timed = latency(calls, repeats=ROUNDS, seconds=SECONDS)
            found.append(ratio(timed["changed"], timed["original"]).value)
    return found


def compared(found: LatencyModel, plans: list[Plan], ratios: list[float]) -> dict[str, float]:
    """Returns how near predictions are to measured ratios."""
    predicted = [found.predict(plan).ratio for plan in plans]
    errors = [abs(p / m - 1) for p, m in zip(predicted, ratios, strict=True)]
    return {
        "median_error": round(statistics.median(errors), 3),
        "largest_error": round(max(errors), 3),
        "rank_correlation": round(float(spearmanr(predicted, ratios).statistic), 3),
    }


def predicted(model: nn.Module, task: laconic.Task, plans: list[Plan], ratios: list[float]) -> dict[str, Any]:
    """Returns how near the predictions are, unchecked and checked by the first few plans."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        table = LatencyTable.open(folder=folder)
        plain = latency_model(model, task, table=table)
        rows = {"unchecked": compared(plain, plans[CHECKED:], ratios[CHECKED:])}
        seconds = time.perf_counter() - start
        checked = plain.corrected(list(zip(plans[:CHECKED], ratios[:CHECKED], strict=True)))
        rows["checked"] = compared(checked, plans[CHECKED:], ratios[CHECKED:])
        pairs = [
            [round(checked.predict(plan).ratio, 3), round(value, 3)]
            for plan, value in zip(plans[CHECKED:], ratios[CHECKED:], strict=True)
        ]
        return rows | {
            "plans": len(pairs),
            "original_ms": round(plain.original_ms, 3),
            "corrections": np.round(checked.corrections, 2).tolist(),
            "predicted_and_measured_ratio": pairs,
            "table_entries": len(table.entries),
            "seconds": round(seconds, 1),
        }


def main() -> None:
    """Runs the networks; with `--write`, goes on behind the plans that are among the results."""
    given = manner.options(__doc__ or "", NETWORKS, seeds=PLANS + CHECKED, writes=True)
    torch.set_num_threads(1)
    old = manner.kept() if given.write else {"rows": {}, "result": {}}
    rows: dict[str, Any] = old["rows"]

    def note(name: str, found: Any) -> None:
        rows[name] = found
        if given.write:
            manner.keep(name, found, lambda rows: old["result"] | summary(rows))

    manner.line("network", "kind", "median error", "largest", "rank corr.", "seconds")
    for name in given.rows:
        model, task = network(name)
        for seed in given.seeds:
            if f"{name} plan {seed}" not in rows:
                note(f"{name} plan {seed}", measured(model, task, [random_plan(model, task, seed)])[0])
        if name not in rows:
            plans = [random_plan(model, task, seed) for seed in given.seeds]
            note(name, predicted(model, task, plans, [rows[f"{name} plan {seed}"] for seed in given.seeds]))
        for kind in ("unchecked", "checked"):
            manner.line(name, kind, *rows[name][kind].values(), rows[name]["seconds"])
    manner.finish(summary(rows))


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns what is known of whole networks."""
    return {name: rows[name] for name in NETWORKS if name in rows}


if __name__ == "__main__":
    main()
