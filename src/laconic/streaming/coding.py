"""What becomes of the weights of one part."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from laconic.calibrate import Encoder, Evidence, Layer, LayerEvidence, calibrate, layers, reached_of
from laconic.core.coding import Coding
from laconic.core.edit import Recode
from laconic.core.errors import invalid
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.solve import code_in_order
from laconic.streaming.activations import Activations


@final
@dataclass(frozen=True)
class Techniques:
    """Which technique codes which weight.

    Args:
        by_pattern: patterns (`*`, `?`) of parameters' names, the first that matches counts; None: it stays as it is.
    """

    by_pattern: Mapping[str, Encoder | None]

    @classmethod
    def of(cls, technique: Encoder | Mapping[str, Encoder | None]) -> Techniques:
        """One for all, or as told."""
        return cls(technique if isinstance(technique, Mapping) else {"*": technique})

    def check(self, names: Iterable[str]) -> None:
        """Refuses patterns that match none of some names.

        Raises:
            UsageError: one does not.
        """
        names = list(names)
        for pattern in self.by_pattern:
            if not fnmatch.filter(names, pattern):
                raise invalid("stream.technique", pattern, "a pattern that matches a parameter")

    def of_name(self, name: str) -> Encoder | None:
        """Returns the technique of a parameter; None: none."""
        return next((t for pattern, t in self.by_pattern.items() if fnmatch.fnmatchcase(name, pattern)), None)

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None, prefix: str) -> Coding:
        """Codes a weight, which errors call by its name in the whole model."""
        named = replace(layer, parameter=prefix + layer.parameter)
        technique = self.of_name(named.parameter)
        assert technique is not None
        return technique.encode(weight, named, None if evidence is None else replace(evidence, layer=named))


def coded_block(block: nn.Module, prefix: str, inputs: Activations, techniques: Techniques, *, in_order: bool) -> Plan:
    """Returns the plan of one block, names as the block knows them.

    Args:
        block: with its weights.
        prefix: of its parameters' names in the model.
        inputs: what it reads.
        techniques: as told.
        in_order: its layers are coded one after the other, each for what the ones before leave it.
    """
    task = Task(evaluate=inputs)
    samples = sum(batch.size for batch in inputs)
    plan = Plan()
    if in_order:
        wanted = [layer.parameter for layer in layers(block) if techniques.of_name(prefix + layer.parameter)]
        encode = _Encode(techniques, prefix)
        plan = code_in_order(block, plan, task, encode, parameters=wanted, samples=samples)
    done = {edit.parameter for edit in plan.recodes}
    if in_order and done.issuperset(wanted):
        return plan
    evidence = calibrate(block, task, samples=samples, gradients=False, activations=False)
    return plan + coded(block, prefix, evidence.layers, techniques, leave=done)


@dataclass(frozen=True)
class _Encode:
    techniques: Techniques
    prefix: str

    def __call__(self, weight: Tensor, layer: Layer, evidence: LayerEvidence) -> Coding:
        return self.techniques.encode(weight, layer, evidence, self.prefix)


def coded(
    part: nn.Module,
    prefix: str,
    seen: Mapping[str, LayerEvidence] | None,
    techniques: Techniques,
    *,
    leave: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> Plan:
    """Returns the plan of a part whose evidence is there.

    Args:
        part: with its weights.
        prefix: of its parameters' names in the model.
        seen: by parameter; what is not in it, or saw nothing but zeros, is coded without evidence and warned of. None:
            nothing was run.
        techniques: as told.
        leave: parameters that stay as they are.
        only: parameters that are coded at most; None: all.
    """
    tensors = dict(part.named_parameters())
    known = {layer.parameter: layer for layer in layers(part)}
    known |= {name: evidence.layer for name, evidence in (seen or {}).items() if name in tensors}
    free = [name for name in known if name not in {*leave} and (only is None or name in {*only})]
    wanted = [name for name in free if techniques.of_name(prefix + name) is not None]
    so = "there all inputs count alike"
    found = {} if seen is None else reached_of(seen, wanted, "stream", so=so, prefix=prefix)
    return Plan.of(
        Recode(name, techniques.encode(tensors[name], known[name], found.get(name), prefix)) for name in wanted
    )


def carry_out(part: nn.Module, plan: Plan) -> None:
    """Gives a part's tensors the values that a plan of recodings says, in place."""
    tensors = dict(part.named_parameters()) | dict(part.named_buffers())
    with torch.no_grad():
        for edit in plan.recodes:
            tensors[edit.parameter].copy_(edit.coding.decode())


def preferred_of(uses: tuple[LayerEvidence, ...], samples: int) -> Mapping[str, LayerEvidence]:
    """Returns the evidence of each parameter that several uses leave."""
    return Evidence(uses=uses, activations={}, samples=samples, predictions=max(samples, 1)).layers
