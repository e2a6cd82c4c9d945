"""The contract of a factorisation: one layer as a product of smaller ones, at every size at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.sound import check_codable
from laconic.core.spec import Spec

Module = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
MODULES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@final
@dataclass(frozen=True, kw_only=True)
class Level:
    """One size that a layer can take.

    Args:
        rank: sizes of the middle, for people: one number, or two for Tucker.
        parameters: of the new layers together, without the bias.
        macs: multiply-accumulates for each output position of the old layer.
        error: what it costs: predicted nats if the evidence holds gradients; else the change of the layer's outputs, or
            without evidence of its weight, as a share of their energy.
    """

    rank: tuple[int, ...]
    parameters: int
    macs: float
    error: float


class Decomposition(ABC):
    """One layer, taken apart once; every size can be had from it. Concrete ones are final."""

    @property
    @abstractmethod
    def levels(self) -> tuple[Level, ...]:
        """Every size that has fewer parameters and multiply-accumulates than the layer, smallest first."""

    @abstractmethod
    def spec(self, level: Level) -> Spec:
        """Returns the modules that take the layer's place at one of `levels`."""


class Factorization(ABC):
    """A way to take layers apart. Concrete ones are frozen dataclasses: settings, no state."""

    @abstractmethod
    def decompose(self, module: Module, layer: Layer, evidence: LayerEvidence | None = None) -> Decomposition | None:
        """Takes one layer apart.

        Args:
            module: the layer itself, with its finite weight; not changed.
            layer: its weight, and how that acts.
            evidence: what passed through it; None, or nothing but zeros (warned of by name): errors are measured at the
                weight.

        Returns:
            None where this way of taking apart does not apply to the layer.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """


def checked(module: Module, layer: Layer, evidence: LayerEvidence | None) -> LayerEvidence | None:
    """Returns the evidence; None, with a warning, where nothing reached the layer.

    Raises:
        ModelError: the weight holds NaN or infinity.
    """
    check_codable(module.weight, layer.parameter)
    return reached(evidence)


def cost_of(delta: Tensor, weight: Tensor, layer: Layer, evidence: LayerEvidence | None) -> float:
    """Returns `Level.error` of a change of a weight, both of the layer's shape."""
    if evidence is not None and evidence.gradient_sum is not None:
        return evidence.nats(delta)
    whole, part = (energy(layer.matrix(t.double()), evidence) for t in (weight, delta))
    return part / whole if whole > 0 else 0.0


def energy(matrix: Tensor, evidence: LayerEvidence | None) -> float:
    """Returns `tr(M A M^T)`, with the identity for `A` where there is no evidence."""
    if evidence is None:
        return float(matrix.square().sum())
    A = evidence.A
    return float(((matrix @ A if A.dim() == 3 else matrix * A[:, None, :]) * matrix).sum())


def padding_of(module: _ConvNd) -> tuple[int, ...] | None:
    """Returns a convolution's padding in numbers; None where the two sides differ."""
    if module.padding == "valid":
        return (0,) * len(module.kernel_size)
    if isinstance(module.padding, str):
        whole = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return None if any(n % 2 for n in whole) else tuple(n // 2 for n in whole)
    return tuple(int(n) for n in module.padding)


def is_module(module: nn.Module) -> bool:
    """Whether a module is one of those that can be taken apart; a subclass may compute something else."""
    return type(module) in MODULES and not isinstance(module, _ConvTransposeNd)
