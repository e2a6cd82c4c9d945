"""A smaller network of the teacher's own architecture, begun from the slices and layers that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import nn

from laconic.core.errors import ModelError, invalid
from laconic.core.target import Target
from laconic.core.task import Task
from laconic.graph import Graph
from laconic.graph.axes import Axes, axes
from laconic.graph.blocks import Block, blocks
from laconic.graph.example import Example, captured, example_inputs
from laconic.prune import Pruned, prune, remove_blocks
from laconic.prune.depth import free_blocks
from laconic.prune.depth_choice import BlockSavings, choose_blocks
from laconic.prune.depth_prices import Prices, batches_of
from laconic.prune.limits import free_axes
from laconic.prune.savings import Measure
from laconic.prune.units import present, together

Layers = Literal["measured", "spread"]
WIDTHS = ("channels", "neurons", "heads", "residual stream", "embedding width", "hidden state")
"""Kinds of axes that make a network wide; a head keeps its width where there are several."""
PRICED_ON = 256


def student(
    teacher: nn.Module,
    data: Example,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    size: float | None = None,
    macs: float | None = None,
    layers: Layers = "measured",
    keep: Sequence[str] = (),
    target: Target | None = None,
    samples: int = 1024,
) -> Pruned:
    """Derives a smaller network from a teacher: fewer layers, each of them narrower, with the teacher's own weights.

    Layers go first, then every width shrinks by one fraction; what stays are the slices with the highest price, fitted
    with a task to the teacher's activations. The answers have the teacher's shape, so that `laconic.distill(teacher,
    derived.model, task)` can follow at once.

    Args:
        teacher: a trained model; left untouched.
        data: a `Task`, whose calibration data is read without labels; or example inputs, which say little about what
            matters.
        width: the fraction that every width keeps, in `(0, 1]`: channels, neurons, heads, residual streams, hidden
            states.
        depth: the fraction that stays of the layers that the model runs without, in `(0, 1]`.
        size: the fraction of the parameters that stays in all, in `(0, 1]`; decides the width in place of `width`.
        macs: likewise, of the multiply-accumulates.
        layers: which stay: `"measured"`, those without which the answers change most; or `"spread"`, at even distances,
            the first and the last among them.
        keep: patterns (`*`, `?`) of parameter names that nothing is taken from.
        target: where the student will run; widths then become ones that run fast there.
        samples: at most so many are read.

    Returns:
        `model`, and how it came about; `save` writes it.

    Raises:
        UsageError: a number outside its domain, or more than one of `width`, `size` and `macs`.
        ModelError: the model cannot be captured, or has nothing that could be narrowed or left out.

    Guarantees:
        The teacher is left as it was. Equal arguments give equal students.
        Before training, the student computes what the teacher computes without what is gone, up to the fit.

    Reference:
        Layers taken from the teacher as in Sanh, Debut, Chaumond, Wolf, 2019, arXiv:1910.01108, section 2, where they
        are spread; chosen by measurement as in `remove_blocks`; slices as in `prune`.

    Example:
        >>> teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> student(teacher, torch.randn(5, 4), width=0.25).model
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
    """
    _check(width, depth, {"size": size, "macs": macs}, layers)
    graph = captured(teacher, data)
    shorter = None
    if depth < 1:
        names = _gone(teacher, graph, data, depth, layers, keep)
        # Patterns speak of the teacher's names, so layers that are counted anew would answer to the wrong ones.
        shorter = remove_blocks(teacher, data, names=names, samples=samples, renumber=not keep, graph=graph)
        graph, keep = captured(shorter.model, data), present(keep, shorter.model)
    found = axes(graph)
    kinds = _kinds(found, keep)
    of: Measure
    if size is not None:
        of, left = "parameters", size / (1.0 if shorter is None else shorter.parameters_ratio)
    elif macs is not None:
        of, left = "macs", macs / (1.0 if shorter is None else shorter.macs_ratio)
    else:
        of, left = "slices", 1 - _of_slices(found, kinds, keep, width)
    if shorter is not None and left >= 1:
        return shorter
    narrower = prune(
        teacher if shorter is None else shorter.model,
        data,
        ratio=1 - left,
        of=of,
        scope="layer",
        units=kinds,
        keep=keep,
        target=target,
        samples=samples,
        graph=graph,
    )
    return narrower if shorter is None else together(shorter, narrower)


def _gone(
    teacher: nn.Module, graph: Graph, data: Example, depth: float, layers: Layers, keep: Sequence[str]
) -> list[str]:
    """Returns the names of the layers that go, at least one."""
    found = free_blocks(graph, outermost(teacher, blocks(graph)), keep)
    if not found:
        raise ModelError(f"student: {graph.name} has no layer that it could do without. Leave depth at 1.")
    count = min(max(1, round((1 - depth) * len(found))), len(found))
    if layers == "spread":
        return [block.name for block in between(found, len(found) - count)]
    device = next((p.device for p in graph.parameters.values()), torch.device("cpu"))
    task = data if isinstance(data, Task) else None
    prices = Prices(graph, task, batches_of(task or example_inputs(data), device, PRICED_ON))
    chosen = choose_blocks(found, prices.of, BlockSavings(graph, "blocks"), count)
    return [block.name for block in chosen.blocks]


def outermost(teacher: nn.Module, found: Sequence[Block]) -> list[Block]:
    """Returns the blocks that lie in no other one; what is called one after the other is several layers, not one."""
    chains = {name for name, module in teacher.named_modules() if isinstance(module, nn.Sequential)}
    found = [block for block in found if block.name not in chains]
    return [block for block in found if not any(block.nodes < other.nodes for other in found)]


def between(found: Sequence[Block], staying: int) -> list[Block]:
    """Returns the blocks that go where so many stay at even distances, the first and the last among them."""
    last = len(found) - 1
    stay = {round(i * last / max(staying - 1, 1)) for i in range(staying)}
    return [block for i, block in enumerate(found) if i not in stay]


def _kinds(found: Axes, keep: Sequence[str]) -> list[str]:
    """Returns the kinds of axes that are cut: a lone head's width counts, that of several does not."""
    there = {axis.kind for axis in free_axes(found, keep)}
    return [kind for kind in WIDTHS if kind in there] or sorted(there)


def _of_slices(found: Axes, kinds: Sequence[str], keep: Sequence[str], width: float) -> float:
    """Returns the fraction of all slices that goes where axes of some kinds keep a fraction of theirs."""
    cut = sum(axis.size for axis in free_axes(found, keep) if axis.kind in kinds)
    return (1 - width) * cut / sum(axis.size for axis in found)


def _check(width: float, depth: float, whole: Mapping[str, float | None], layers: str) -> None:
    for name, value in {"width": width, "depth": depth, **whole}.items():
        if value is not None and not 0 < value <= 1:
            raise invalid(f"student.{name}", value, "a fraction in (0, 1]", "For half of it write 0.5.")
    if (width != 1) + sum(value is not None for value in whole.values()) > 1:
        values = (width, *whole.values())
        raise invalid(
            "student.width, size, macs", values, "one of them", "size and macs decide the width by themselves."
        )
    if layers not in get_args(Layers):
        raise invalid("student.layers", layers, "'measured' or 'spread'")
