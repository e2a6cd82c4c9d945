"""CIFAR-10 ResNets at 1.5 and 2.1 times fewer MACs, with 1,024 unlabelled training images and no training.

Top-1 in percent on the 10,000 test images. `laconic` is the default of `laconic.prune`, `laconic_for_target` the same
in widths that ONNX Runtime likes. The default takes the better of two rankings: `nats`, predicted nats over all axes,
and `l1_compensated`. `laconic_in_three_steps` finds importance anew after each third of the way, with no training in
between either. Every other criterion comes as it is usually used: the same fraction of every axis, then batch-norm
statistics taken anew; `l1_cut` without even that. `torch_pruning_l1` is torch-pruning 1.6.1 (to be installed for it)
as its documentation shows: group magnitude, the last layer left alone, step by step until the MACs are reached.
`time` is what is left of the original's latency in ONNX Runtime, both timed in turn, one image on one thread. With
`--write` each row goes into results/oneshot_pruning.json as soon as it is there.
"""

from __future__ import annotations

import atexit
import copy
import datetime
import json
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import laconic
import manner
import networks
from laconic.core.plan import Plan
from laconic.export.onnxruntime import Session, export
from laconic.graph import Graph, capture, costs
from laconic.measure import latency, ratio
from laconic.prune import (
    Activation,
    Apoz,
    BatchNormScale,
    Compensated,
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
    "laconic_for_target": None,
    "laconic_in_three_steps": None,
    "nats": Compensated(),
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
COMPENSATION: dict[str, Literal["weights"] | None] = {
    **dict.fromkeys(("laconic", "laconic_for_target", "nats", "l1_compensated"), "weights"),
    "l1_cut": None,
}
SCOPE: dict[str, Literal["global"] | None] = {
    **dict.fromkeys(("nats", "lamp", "batch_norm_scale"), "global"),
    **dict.fromkeys(("laconic", "laconic_for_target")),
}
OTHER = "torch_pruning_l1"
ROWS = [f"resnet{depth}/{factor}/{name}" for depth in (56, 20) for factor in FACTORS for name in (*CRITERIA, OTHER)]
RESULTS = Path(__file__).parent / "results" / "oneshot_pruning.json"
OTHER_STEPS, OTHER_MOST = 40, 0.9
TIMED_S = 6.0


class Found(NamedTuple):
    """A smaller network, what is left of the MACs and parameters, and whether it is the user's own module."""

    model: nn.Module
    macs_ratio: float
    parameters_ratio: float
    form: str


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
def graph(depth: int) -> Graph:
    return capture(original(depth), next(task().batches("calibrate", limit=4)).args)


@cache
def test_images() -> tuple[Tensor, Tensor]:
    return networks.cifar_images("test")


def top1(model: nn.Module) -> float:
    """Returns the percentage of test images that are classified correctly."""
    images, labels = test_images()
    with torch.no_grad():
        answers = torch.cat([model(networks.cifar_inputs(part)).argmax(1) for part in images.split(250)])
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
        scope=SCOPE.get(name, "layer"),
        compensate=COMPENSATION.get(name, "statistics"),
        samples=IMAGES,
        evidence=evidence(depth) if name in ("laconic", "laconic_for_target", "nats", "fisher") else None,
        target=laconic.Target.parse("onnxruntime") if name == "laconic_for_target" else None,
        graph=graph(depth),
    )


def by_the_other(depth: int, factor: str) -> Found:
    """Returns one network, pruned by torch-pruning.

    Raises:
        Exception: whatever it raises.
    """
    import torch_pruning as tp

    model, example = copy.deepcopy(original(depth)), test_images()[0][:1]
    inputs = networks.cifar_inputs(example)
    asked = operations(model, inputs) / float(factor)
    pruner = tp.pruner.BasePruner(
        model,
        inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=OTHER_MOST,
        iterative_steps=OTHER_STEPS,
        ignored_layers=[m for m in model.modules() if isinstance(m, nn.Linear)],
    )
    while operations(model, inputs) > asked:
        pruner.step()
    whole, left = (costs(capture(m, (inputs,))) for m in (original(depth), model))
    return Found(model.eval(), left.macs / whole.macs, left.parameter_count / whole.parameter_count, "module")


def operations(model: nn.Module, inputs: Tensor) -> int:
    """Returns what PyTorch's own counter counts, which needs no capture."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs)
    return counter.get_total_flops()


@cache
def folder() -> Path:
    """Returns where networks lie as ONNX files, until the process ends."""
    held = tempfile.TemporaryDirectory()
    atexit.register(held.cleanup)
    return Path(held.name)


def session(model: nn.Module, name: str) -> Session:
    """Returns a network in ONNX Runtime, on one thread."""
    one_image = next(task().batches("evaluate")).first(1)
    return Session(export(model, Plan(), task(), one_image, folder() / name).path, threads=1)


@cache
def original_session(depth: int) -> Session:
    return session(original(depth), f"resnet{depth}.onnx")


def time_ratio(depth: int, found: nn.Module) -> float:
    """Returns the latency that is left in ONNX Runtime, for one image on one thread."""
    first, second = original_session(depth), session(found, "pruned.onnx")
    arrays = [tensor.numpy() for tensor in next(task().batches("evaluate")).first(1).inputs]
    timed = latency({"original": lambda: first.run(arrays), "pruned": lambda: second.run(arrays)}, seconds=TIMED_S)
    return round(ratio(timed["pruned"], timed["original"]).value, 3)


def measured(row: str) -> dict[str, Any]:
    """Returns one row."""
    network, factor, name = row.split("/")
    depth = int(network.removeprefix("resnet"))
    try:
        smaller = pruned(depth, factor, name) if name != OTHER else by_the_other(depth, factor)
    except Exception as failure:
        if name != OTHER:
            raise
        return {"row": row, "top1_percent": None, "failed": f"{type(failure).__name__}: {failure}".splitlines()[0]}
    return {
        "row": row,
        "top1_percent": top1(smaller.model),
        "macs_ratio": round(smaller.macs_ratio, 3),
        "parameters_ratio": round(smaller.parameters_ratio, 3),
        "time_ratio": time_ratio(depth, smaller.model),
        "form": smaller.kind if isinstance(smaller, laconic.Pruned) else smaller.form,
    }


def write(row: dict[str, Any]) -> None:
    """Puts a row into the results file."""
    old = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {one["row"]: one for one in old["rows"]} | {row["row"]: row}
    ordered = [rows[name] for name in ROWS if name in rows]
    new = {**old, "date": datetime.date.today().isoformat(), "rows": ordered, "result": summary(ordered)}
    RESULTS.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the last line."""
    found: dict[str, Any] = {}
    for row in rows:
        network, factor, name = row["row"].split("/")
        found.setdefault(network, {}).setdefault(factor, {})[name] = row["top1_percent"]
    return found


def main() -> None:
    """Runs the rows."""
    writing = "--write" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--write"]
    given = manner.options(__doc__ or "", ROWS, seeds=1)
    torch.set_num_threads(1)
    widths = (36, 10, 10, 12, 10, 10)
    manner.line("row", "top-1", "MACs", "parameters", "time", "form", widths=widths)
    rows = []
    for name in given.rows:
        rows.append(row := measured(name))
        shown = ("top1_percent", "macs_ratio", "parameters_ratio", "time_ratio", "form")
        manner.line(name, *(row.get(key, "") for key in shown), widths=widths)
        if writing:
            write(row)
    manner.finish(summary(rows))


if __name__ == "__main__":
    main()
