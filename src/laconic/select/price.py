"""The price list: every technique at every level on every layer, in nats, bytes and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from laconic.calibrate import Evidence, LayerEvidence, calibrate
from laconic.core.coding import Coding
from laconic.core.edit import Recode, Swap
from laconic.core.errors import ModelError, UsageError, check_whole
from laconic.core.task import Task
from laconic.factorize import Factorization, Level
from laconic.factorize.decomposition import is_module
from laconic.graph import Graph, capture, costs
from laconic.select.correct import corrected, joint_ones, measured
from laconic.select.encoded import encoded
from laconic.select.menu import MENU, Technique
from laconic.select.offer import JointOffer, Offer, PriceList
from laconic.select.yardstick import Yardstick
from laconic.share import AcrossDepth
from laconic.solve import nats_of

Stored = Callable[[str, Coding], int]
RANKS = 8
"""So many ranks of each layer are offered, evenly over its sizes."""


def price(
    model: nn.Module,
    task: Task,
    *,
    techniques: Sequence[Technique | AcrossDepth] | None = None,
    evidence: Evidence | None = None,
    measure: int = 48,
    samples: int = 256,
    graph: Graph | None = None,
    stored: Stored | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> PriceList:
    """Prices what can be done to each layer. Nothing is changed.

    What does not go together with a layer, or would not make it smaller, is not offered.

    Args:
        model: a trained model.
        task: its calibration data is read, without labels.
        techniques: None: `MENU`; `EVERYTHING` has more, and takes longer.
        evidence: of an earlier `calibrate`, with gradients.
        measure: how many offers are measured on the whole model, to correct the predictions of all; 0: none is.
        samples: how many are read to measure: those that come after the ones behind the evidence, if there are more.
        graph: of an earlier `capture`.
        stored: what a parameter in a coding takes in a file, in bytes; None: `Coding.size_bytes`.
        progress: called before each layer with the weights that are priced, those that there are, and its name.

    Raises:
        UsageError: a number is outside its domain, or the evidence holds no gradients.
        ModelError: the model has no layer that can be priced, or a weight is not finite.

    Example:
        >>> import torch
        >>> from laconic.quantize import RoundToNearest
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        >>> prices = price(model, Task(evaluate=[torch.randn(64, 8)]), techniques=[RoundToNearest(bits=4)])
        >>> [(offer.layer, offer.level, offer.size_bytes) for offer in prices.offers][:2]
        [('0.weight', 'as it is', 256), ('0.weight', '4-bit symmetric grid per channel', 48)]
    """
    check_whole("price.measure", measure, 0)
    check_whole("price.samples", samples, 1)
    evidence = evidence or calibrate(model, task, activations=False)
    if all(use.gradient_sum is None for use in evidence.uses):
        raise UsageError("price: the evidence holds no gradients; expected some. Use calibrate(..., gradients=True).")
    techniques = MENU if techniques is None else techniques
    alone = [technique for technique in techniques if not isinstance(technique, AcrossDepth)]
    macs = costs(graph or _captured(model, task)).macs_by_parameter
    tensors = dict(model.named_parameters())
    offers: list[Offer] = []
    reached = {
        name: seen
        for name, seen in evidence.layers.items()
        if name in tensors and seen.gradient_sum is not None and bool(seen.input_sum.any())
    }
    done, total = 0, sum(tensors[name].numel() for name in reached)
    for name, seen in reached.items():
        if progress is not None:
            progress(done, total, name)
        there = seen.remembering()
        offers += _offers(model, tensors[name], there, evidence, float(macs.get(name, 0)), alone, stored or _packed)
        done += tensors[name].numel()
    if not offers:
        raise ModelError(
            f"price: {type(model).__name__} has no layer with a price; expected one that reaches the output."
        )
    yardstick = Yardstick.of(model, task, samples=samples, skip=evidence.samples) if measure else None
    points = measured(model, offers, measure, yardstick) if yardstick else {}
    joint = [
        offer
        for technique in techniques
        if isinstance(technique, AcrossDepth)
        for offer in _together(model, evidence, macs, technique)
    ]
    priced = {offer.layer for offer in offers}
    return PriceList(
        offers=tuple(corrected(offers, points, most=yardstick.most if yardstick else math.inf)),
        other_bytes=sum(_bytes(t) for n, t in _tensors(model).items() if n not in priced),
        other_macs=float(sum(n for name, n in macs.items() if name not in priced)),
        notes=tuple(_notes(evidence, priced, tensors)),
        joint=joint_ones(model, joint, yardstick) if yardstick else tuple(joint),
    )


def _offers(
    model: nn.Module,
    weight: Tensor,
    seen: LayerEvidence,
    evidence: Evidence,
    macs: float,
    techniques: Sequence[Technique],
    stored: Stored,
) -> Iterator[Offer]:
    layer, whole = seen.layer, weight.detach().cpu()
    yield Offer(
        layer=layer.parameter,
        technique=None,
        edit=None,
        size_bytes=_bytes(weight),
        macs=macs,
        predicted_nats=0.0,
        nats=0.0,
    )
    others = [use for use in evidence.uses if use.layer.parameter == layer.parameter and use.layer != layer]
    encoders = [technique for technique in techniques if not isinstance(technique, Factorization)]
    for encoder, coding in encoded(weight, seen, encoders):
        size = stored(layer.parameter, coding)
        if size >= _bytes(weight):
            continue
        delta = coding.decode() - whole
        nats = nats_of(seen, delta) + sum(use.nats(delta) for use in others)
        yield Offer(
            layer=layer.parameter,
            technique=encoder,
            edit=Recode(layer.parameter, coding),
            size_bytes=size,
            macs=macs,
            predicted_nats=nats,
            nats=nats,
        )
    for technique in techniques:
        if isinstance(technique, Factorization):
            yield from _factorized(model, weight, seen, evidence, macs, technique)


def _packed(parameter: str, coding: Coding) -> int:
    return coding.size_bytes


def _factorized(
    model: nn.Module, weight: Tensor, seen: LayerEvidence, evidence: Evidence, macs: float, technique: Factorization
) -> Iterator[Offer]:
    layer = seen.layer
    path = layer.parameter.removesuffix(".weight")
    module: Any = dict(model.named_modules()).get(path)
    uses = sum(use.layer.parameter == layer.parameter for use in evidence.uses)
    if module is None or not is_module(module) or module.weight is not weight or uses > 1:
        return
    found = technique.decompose(module, layer, seen)
    for level in _spread(found.levels if found else ()):
        assert found is not None
        yield Offer(
            layer=layer.parameter,
            technique=technique,
            edit=Swap(path, found.spec(level)),
            size_bytes=level.parameters * weight.element_size(),
            macs=macs * level.macs / weight.numel(),
            predicted_nats=level.error,
            nats=level.error,
        )


def _together(
    model: nn.Module, evidence: Evidence, macs: Mapping[str, float], technique: AcrossDepth
) -> Iterator[JointOffer]:
    tensors = dict(model.named_parameters())
    for join in technique.joins(model, evidence):
        recode = join.edits[0]
        assert isinstance(recode, Recode)
        shared = recode.coding.decode()
        nats = sum(evidence.nats(name, shared - tensors[name].detach().cpu()) for name in join.parameters)
        yield JointOffer(
            layers=join.parameters,
            technique=technique,
            edits=join.edits,
            size_bytes=recode.coding.size_bytes,
            macs=sum(float(macs.get(name, 0)) for name in join.parameters),
            predicted_nats=nats,
            nats=nats,
        )


def _spread(levels: Sequence[Level]) -> Sequence[Level]:
    """Returns at most `RANKS` levels, evenly spaced, among them the largest."""
    count = len(levels)
    return [levels[(i + 1) * count // RANKS - 1] for i in range(RANKS)] if count > RANKS else levels


def _captured(model: nn.Module, task: Task) -> Graph:
    example = next(task.batches("calibrate"))
    return capture(model, example.args, example.kwargs)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _notes(evidence: Evidence, priced: set[str], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    left = [name for name in tensors if name in evidence.layers and name not in priced]
    if zeros := [name for name in left if not bool(evidence.layers[name].input_sum.any())]:
        yield f"without a price, because nothing but zeros reached them: {', '.join(zeros)}."
    if left := [name for name in left if name not in zeros]:
        yield f"without a price, because no gradient reached them: {', '.join(left)}."
    if evidence.unreached:
        yield f"without a price, because the data never used them: {', '.join(evidence.unreached)}."
