"""What the tensor decompositions of convolutions share: levels that are worked out one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.spec import Convolutions, Spec, Stage
from laconic.factorize.decomposition import Decomposition, Level, Module, cost_of, padding_of

Array = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Factored:
    """One approximation of a kernel.

    Args:
        rank: sizes of the middle.
        stages: the convolutions.
        kernel: what they make together, of the old weight's shape.
    """

    rank: tuple[int, ...]
    stages: tuple[Stage, ...]
    kernel: Array


@final
@dataclass(frozen=True, eq=False)
class Chains(Decomposition):
    """Several chains of convolutions for one.

    Args:
        module: the convolution.
        layer: its weight.
        evidence: prices the chains.
        factored: all that were worked out.
    """

    module: Module
    layer: Layer
    evidence: LayerEvidence | None
    factored: Sequence[Factored]

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Those that save both parameters and multiply-accumulates."""
        whole = math.prod(self.layer.shape)
        found = (self._level(one) for one in self.factored)
        saving = [level for level in found if level.parameters < whole and level.macs < whole]
        return tuple(sorted(saving, key=lambda level: level.parameters))

    def _level(self, one: Factored) -> Level:
        weight = self.module.weight.detach().cpu()
        delta = torch.from_numpy(one.kernel).to(weight.dtype) - weight
        sizes = [stage.weight.numel() for stage in one.stages]
        return Level(
            rank=one.rank,
            parameters=sum(sizes),
            macs=sum(n * f for n, f in zip(sizes, _positions(one.stages), strict=True)),
            error=cost_of(delta, weight, self.layer, self.evidence),
        )

    def spec(self, level: Level) -> Spec:
        """Returns the chain."""
        return Convolutions(next(one.stages for one in self.factored if one.rank == level.rank))


def _positions(stages: Sequence[Stage]) -> Iterator[int]:
    """Yields how often each stage runs for one output of the last."""
    for i in range(len(stages)):
        yield math.prod(math.prod(later.stride) for later in stages[i + 1 :])


def plain_kernel(module: Module) -> Array | None:
    """Returns a convolution's weight, float64; None where tensor decompositions have nothing to do."""
    if isinstance(module, nn.Linear) or module.groups != 1 or math.prod(module.kernel_size) == 1:
        return None
    if padding_of(module) is None:
        return None
    kernel: Array = module.weight.detach().cpu().double().numpy()
    return kernel


def pointwise(weight: Array, dims: int) -> Stage:
    """Returns a 1x1 convolution from `[outputs, inputs]`."""
    ones = (1,) * dims
    return Stage(weight=single(weight).reshape(*weight.shape, *ones), stride=ones, padding=(0,) * dims, dilation=ones)


def single(array: Array) -> Tensor:
    """Returns an array as a float32 tensor in memory of its own."""
    return torch.from_numpy(np.array(array, dtype=np.float32))
