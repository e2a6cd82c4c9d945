"""A choice carried out layer after layer, each coded for what the ones before it leave."""

from __future__ import annotations

from torch import Tensor, nn

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.coding import Coding
from laconic.core.edit import Recode
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.factorize import Factorization
from laconic.select.offer import Choice
from laconic.solve import code_in_order

EMPTY = Plan()


def carried_out(model: nn.Module, task: Task, choice: Choice, *, beside: Plan = EMPTY, samples: int = 1024) -> Plan:
    """Returns the plan of a choice with every coding made anew, in order, for the inputs that it will have.

    Prices are made for one change at a time. Where many layers change, each is better coded for the inputs that the
    changed ones before it give it; biases and batch statistics take back what remains.

    Args:
        model: the original.
        task: its calibration data is read, without labels; the activations of all samples are held at once, twice.
        choice: what becomes of each layer.
        beside: what else is done to the model, such as rounding its activations; the codings are fitted to that.
        samples: at most so many are read.

    Reference:
        As `solve.code_in_order`.
    """
    techniques = {offer.layer: offer.technique for offer in choice.offers if isinstance(offer.edit, Recode)}

    def encode(weight: Tensor, layer: Layer, evidence: LayerEvidence) -> Coding:
        technique = techniques[layer.parameter]
        assert technique is not None and not isinstance(technique, Factorization)
        return technique.encode(weight, layer, evidence)

    return code_in_order(model, choice.plan + beside, task, encode, parameters=techniques.keys(), samples=samples)
