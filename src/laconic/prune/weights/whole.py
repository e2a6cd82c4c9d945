"""A whole model with zeros among its weights, in one call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from laconic.calibrate import Encoder, Evidence, Layer, LayerEvidence, calibrate, layers, reached_of
from laconic.core.coding import Coding
from laconic.core.codings import Sparse
from laconic.core.edit import Recode
from laconic.core.errors import ModelError, invalid
from laconic.core.plain_weights import on_plain_weights
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.prune.weights.alternating import AlternatingSparsity
from laconic.prune.weights.brain_damage import BrainDamage
from laconic.prune.weights.compensated import CompensatedSparsity
from laconic.prune.weights.distribution import ByPrice, Distribution, ErdosRenyiKernel, GlobalScore, Subject, Uniform
from laconic.prune.weights.magnitude import SmallestWeights
from laconic.prune.weights.mask_then import MaskThen
from laconic.prune.weights.patterns import NOfM, Pattern, pattern_of
from laconic.prune.weights.technique import Sparsification
from laconic.prune.weights.wanda import Wanda
from laconic.solve import code_in_order

Method = Literal["magnitude", "wanda", "obd", "compensated", "alternating"]
Spread = Literal["uniform", "global", "price", "erk"]
METHODS: dict[str, type[SmallestWeights | Wanda | BrainDamage | CompensatedSparsity | AlternatingSparsity]] = {
    "magnitude": SmallestWeights,
    "wanda": Wanda,
    "obd": BrainDamage,
    "compensated": CompensatedSparsity,
    "alternating": AlternatingSparsity,
}
SPREADS: dict[str, type[Distribution]] = {
    "uniform": Uniform,
    "global": GlobalScore,
    "price": ByPrice,
    "erk": ErdosRenyiKernel,
}


@on_plain_weights
def sparsify(
    model: nn.Module,
    task: Task,
    *,
    sparsity: float | None = None,
    pattern: str | tuple[int, int] | Pattern = "unstructured",
    method: Method = "alternating",
    distribution: Spread | Distribution | None = None,
    half: bool = False,
    then: Encoder | None = None,
    in_order: bool = False,
    skip: Collection[str] = (),
    evidence: Evidence | None = None,
) -> Plan:
    """Plans zeros for every weight. Nothing is changed: `apply` the plan.

    Args:
        model: a trained model.
        task: its data; one pass over the calibration part, unless `evidence` is given.
        sparsity: share of zeros, in [0, 1); None: 0.5, or what `N:M` means.
        pattern: `"unstructured"`, `"2:4"` or any `N:M`, `(rows, columns)` of blocks, `"rows"`, `"columns"`.
        method: what decides, and what is done about it: `"magnitude"`, `"wanda"`, `"obd"` (diagonal) leave the other
            weights as they are; `"compensated"` (SparseGPT) and `"alternating"` (ADMM; slower, better) fit them.
        distribution: `"uniform"`, `"global"` by score, `"price"` by marginal nats, `"erk"`; None: `"uniform"` for
            `N:M` and for `"magnitude"` and `"wanda"`, whose scores do not compare across layers, else `"price"`.
        half: store what is kept in float16.
        then: codes what is kept, such as `CompensatedRounding(bits=4, keep_zeros=True)`; zeros stay zero.
        in_order: fit each layer to the inputs that the layers before leave it, and let batch statistics and biases take
            back what remains. Much nearer to the original at high sparsity, but holds the activations of all samples
            at once. With `"magnitude"`, `"wanda"` and `"obd"` the weights move too, as the inputs did.
        skip: parameters that stay as they are.
        evidence: of an earlier `calibrate`, with gradients unless the method is `"magnitude"` or `"wanda"`.

    Returns:
        One `Recode` to a `Sparse` coding for each weight, and with `in_order` the corrections.

    Raises:
        ModelError: there is no weight that could be recoded, or one is not finite.
        UsageError: a number is outside its domain, or settings do not go together.
    """
    technique = technique_of(method, pattern, sparsity, half=half)
    spread = distribution_of(distribution, technique)
    if evidence is None:
        plain = isinstance(technique, SmallestWeights | Wanda) and not isinstance(spread, ByPrice)
        evidence = calibrate(model, task, gradients=not plain, activations=False)
    subjects = _subjects(model, evidence, skip)
    shares = spread.sparsities(subjects, technique)
    masks = {name: replace(technique, sparsity=shares[name]) for name in subjects}
    known: dict[str, Encoder] = {n: m if then is None else MaskThen(mask=m, then=then) for n, m in masks.items()}

    def encode(weight: Tensor, layer: Layer, seen: LayerEvidence | None) -> Coding:
        seen = seen and seen.with_gradients_of(subjects[layer.parameter].evidence)
        return known[layer.parameter].encode(weight, layer, seen)

    plan = Plan.of(Recode(name, encode(*subject)) for name, subject in subjects.items())
    return code_in_order(model, plan, task, encode, parameters=list(subjects)) if in_order else plan


def technique_of(
    method: str, pattern: str | tuple[int, int] | Pattern, sparsity: float | None, *, half: bool = False
) -> SmallestWeights | Wanda | BrainDamage | CompensatedSparsity | AlternatingSparsity:
    """Returns a technique by name.

    Raises:
        UsageError: there is none, or a setting is outside its domain.
    """
    if method not in METHODS:
        raise invalid("sparsify.method", method, f"one of {', '.join(map(repr, METHODS))}")
    form = pattern_of(pattern)
    if sparsity is None:
        sparsity = form.sparsity if isinstance(form, NOfM) else 0.5
    return METHODS[method](sparsity=sparsity, pattern=form, half=half)


def distribution_of(distribution: str | Distribution | None, technique: Sparsification) -> Distribution:
    """Returns a distribution by name, or the usual one for a technique.

    Raises:
        UsageError: there is none of that name, or the pattern leaves nothing to distribute.
    """
    if distribution is None:
        plain = isinstance(technique, SmallestWeights | Wanda)
        return Uniform() if plain or isinstance(technique.pattern, NOfM) else ByPrice()
    if isinstance(distribution, str):
        if distribution not in SPREADS:
            raise invalid("sparsify.distribution", distribution, f"one of {', '.join(map(repr, SPREADS))}")
        distribution = SPREADS[distribution]()
    if isinstance(technique.pattern, NOfM) and not isinstance(distribution, Uniform):
        raise invalid("sparsify.distribution", type(distribution).__name__, f"'uniform' with {technique.pattern}")
    return distribution


def _subjects(model: nn.Module, evidence: Evidence, skip: Collection[str]) -> dict[str, Subject]:
    """Every layer, whether its module's type or the evidence shows it."""
    tensors = dict(model.named_parameters())
    found = {layer.parameter: layer for layer in layers(model)}
    found |= {name: seen.layer for name, seen in evidence.layers.items()}
    known = {name: layer for name, layer in found.items() if name in tensors}
    if missing := [name for name in skip if name not in known]:
        raise invalid("sparsify.skip", missing[0], f"one of {', '.join(known)}")
    free = {name: layer for name, layer in known.items() if name not in skip}
    if not free:
        raise ModelError(
            f"{type(model).__name__}: has no linear, convolution or embedding weights left; nothing to sparsify."
        )
    seen = reached_of(evidence.layers, free, "sparsify", so="there the smallest weights go")
    return {name: Subject(tensors[name].detach(), layer, seen.get(name)) for name, layer in free.items()}


def sparsity_of(plan: Plan) -> Mapping[str, float]:
    """Returns the share of zeros that each sparse coding of a plan holds, by parameter."""
    return {edit.parameter: edit.coding.sparsity for edit in plan.recodes if isinstance(edit.coding, Sparse)}
