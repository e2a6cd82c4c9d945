"""What solvers work out from a layer's evidence; evidence that remembers has it ready for the next technique."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from laconic.calibrate import LayerEvidence
from laconic.solve.blockwise import in_vectors
from laconic.solve.metric import InputMetric
from laconic.solve.passing import halfway, through

Product = Callable[[Tensor], Tensor]


def metric_of(evidence: LayerEvidence, *, damping: float, width: int = 1) -> InputMetric:
    """Returns the metric of a layer's inputs.

    Args:
        evidence: with the whole second moment.
        damping: as of `InputMetric.of`.
        width: inputs that stay together in its order; their number is filled up to a multiple with inputs that are
            always zero.
    """

    def make() -> InputMetric:
        moment = evidence.A
        if width == 1:
            return InputMetric.of(moment, damping=damping)
        missing = -moment.shape[1] % width
        padded = functional.pad(moment, (0, missing, 0, missing))
        return InputMetric.of(padded, damping=damping, order=in_vectors(padded, width))

    return evidence.once("metric", (damping, width), make)


def through_inputs(evidence: LayerEvidence) -> Product:
    """Returns `through` of a layer's inputs."""
    return evidence.once("through", (), lambda: through(evidence.A))


def halfway_inputs(evidence: LayerEvidence) -> Product:
    """Returns `halfway` of a layer's inputs."""
    return evidence.once("halfway", (), lambda: halfway(evidence.A))


def nats_of(evidence: LayerEvidence, delta: Tensor) -> float:
    """Returns `evidence.nats(delta)` from products in float32, half of the larger one left out."""
    if evidence.input_sum.dim() == 2 or evidence.gradient_sum is None or evidence.gradient_sum.dim() == 2:
        return evidence.nats(delta)
    size = delta.abs().max()
    if not size > 0:
        return 0.0
    change = evidence.layer.matrix(delta.detach().cpu().float() / size)
    if change.shape[1] <= change.shape[2]:
        pulled = evidence.once("pulled", (), evidence.G.float) @ change
        felt = pulled * halfway_inputs(evidence)(change)
    else:
        passed = change @ evidence.once("passed", (), evidence.A.float)
        felt = passed * evidence.once("halfway outputs", (), lambda: halfway(evidence.G))(change.mT).mT
    return 0.5 * float(felt.double().sum()) * float(size) ** 2
