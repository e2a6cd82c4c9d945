"""A whole model in fewer bits, in one call."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from laconic.calibrate import Evidence, Layer, LayerEvidence, calibrate, layers, reached_of
from laconic.core.coding import Coding
from laconic.core.edit import Recode
from laconic.core.errors import ModelError, invalid
from laconic.core.plain_weights import on_plain_weights
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.graph import Graph, capture
from laconic.quantize.activations import RoundActivations
from laconic.quantize.compensated import CompensatedRounding
from laconic.quantize.ranges import Range
from laconic.quantize.reconstruct import BlockReconstruction
from laconic.quantize.round_to_nearest import RoundToNearest
from laconic.solve import code_in_order


@on_plain_weights
def quantize(
    model: nn.Module,
    task: Task,
    *,
    bits: int | Mapping[str, int | None] = 8,
    activation_bits: int | None = None,
    activations: RoundActivations | None = None,
    per: Literal["tensor", "channel"] | int = "channel",
    symmetric: bool = True,
    range: Range | None = None,
    compensate: bool = True,
    in_order: bool = False,
    reconstruct: bool = False,
    evidence: Evidence | None = None,
    graph: Graph | None = None,
) -> Plan:
    """Plans every weight, and if wished every activation, on an integer grid. Nothing is changed: `apply` the plan.

    Args:
        model: a trained model.
        task: its data; one pass over the calibration part, unless `evidence` is given.
        bits: of weights, 2 to 8; or patterns (`*`, `?`) of parameters' names -> bits, None: as it is. The first match
            counts, and what none matches stays as it is.
        activation_bits: of what layers read, 2 to 8; None: activations stay float.
        activations: in the place of `activation_bits`, with a choice of what shares a range, and of bits by place.
        per: what shares a scale: `"tensor"`, `"channel"`, or a number of consecutive weights.
        symmetric: signed codes around zero, or unsigned ones with a zero point; weights only.
        range: how far grids reach; None: the least error.
        compensate: let weights that are rounded later make up for the error of those rounded before
            (`CompensatedRounding`); False: each to its nearest point (`RoundToNearest`).
        in_order: fit each layer to the inputs that the layers before, rounded already, leave it, and let batch
            statistics and biases take back what remains. Much nearer to the original at few bits, but holds the
            activations of all samples at once.
        reconstruct: then learn the rounding inside residual and transformer blocks on what these answer
            (`BlockReconstruction`), and fit what is not in a block to what they then give it; takes a few hundred
            training steps a block.
        evidence: of an earlier `calibrate`.
        graph: of an earlier `capture`.

    Raises:
        ModelError: there is no weight that could be recoded, or one is not finite.
        UsageError: a number is outside its domain, or a pattern matches nothing.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(quantize(model, Task(evaluate=[torch.randn(64, 8)], metric="mse"), bits={"4.*": 8, "*": 4}))
        Plan: 3 edits
          0.weight: 4-bit symmetric grid per channel, 48 bytes
          2.weight: 4-bit symmetric grid per channel, 48 bytes
          4.weight: 8-bit symmetric grid per channel, 20 bytes
    """
    kind = CompensatedRounding if compensate else RoundToNearest
    told = bits if isinstance(bits, Mapping) else {"*": bits}
    techniques = {b: kind(bits=b, symmetric=symmetric, per=per) for b in told.values() if b is not None}
    rounding = activations or (None if activation_bits is None else RoundActivations(bits=activation_bits))
    if range is not None:
        techniques = {b: replace(technique, range=range) for b, technique in techniques.items()}
        rounding = rounding and replace(rounding, range=range)
    tensors = dict(model.named_parameters())
    _check(told, tensors)
    if evidence is None:
        counted = rounding.evidence if rounding is not None else False
        evidence = calibrate(model, task, gradients=False, activations=counted)
    known = {name: layer for name, layer in _known(model, evidence).items() if _told(told, name) is not None}
    seen = reached_of(evidence.layers, known, "quantize", so="there each weight is rounded to the nearest point")

    def encode(weight: Tensor, layer: Layer, seen: LayerEvidence | None) -> Coding:
        wanted = _told(told, layer.parameter)
        assert wanted is not None
        return techniques[wanted].encode(weight, layer, seen)

    plan = Plan.of(Recode(name, encode(tensors[name], layer, seen.get(name))) for name, layer in known.items())
    if rounding is not None:
        plan += Plan.of(rounding.edits(model, graph or _captured(model, task), evidence))
    if in_order:
        plan = code_in_order(model, plan, task, encode, parameters=list(known))
    return BlockReconstruction().improve(model, plan, task, encode=encode) if reconstruct else plan


def _check(told: Mapping[str, int | None], names: Collection[str]) -> None:
    for pattern in told:
        if not fnmatch.filter(names, pattern) and len(names):
            near = ", ".join(difflib.get_close_matches(pattern, names, n=3, cutoff=0.3))
            raise invalid("quantize.bits", pattern, "a pattern that matches a parameter", f"Near ones: {near}.")


def _told(told: Mapping[str, int | None], name: str) -> int | None:
    return next((bits for pattern, bits in told.items() if fnmatch.fnmatchcase(name, pattern)), None)


def _known(model: nn.Module, evidence: Evidence) -> dict[str, Layer]:
    """Every layer, whether its module's type or the evidence shows it."""
    names = {name for name, _ in model.named_parameters()}
    found = {layer.parameter: layer for layer in layers(model)}
    found |= {name: seen.layer for name, seen in evidence.layers.items()}
    known = {name: layer for name, layer in found.items() if name in names}
    if not known:
        raise ModelError(
            f"{type(model).__name__}: has no linear, convolution or embedding weights; nothing to quantize."
        )
    return known


def _captured(model: nn.Module, task: Task) -> Graph:
    example = next(task.batches("calibrate"))
    return capture(model, example.args, example.kwargs)
