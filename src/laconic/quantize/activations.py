"""Activations on static 8-bit grids, where integer kernels read and write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, final

from torch import Tensor, nn

from laconic.calibrate import Evidence, Histogram
from laconic.core.edit import ActivationGrid, RoundActivation
from laconic.core.errors import invalid
from laconic.graph import Call, Graph, called_once, weighted_calls
from laconic.quantize.ranges import LeastError, Range

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@final
@dataclass(frozen=True, kw_only=True)
class RoundActivations:
    """Rounds what linear layers and convolutions read, and what convolutions hand to anything else.

    An integer kernel of a convolution gives integers, so its result needs a grid of its own wherever the next reader
    does not bring one: before an addition, a pooling, the model's output. It is put behind the normalisation and
    activation that follow where these are modules, since runtimes fuse them.

    Args:
        bits: 2 to 8.
        range: how far a grid reaches, chosen on the histogram of the calibration data.

    Guarantees:
        Zero is exact on every grid, so padding stays zero.
    """

    bits: int = 8
    range: Range = field(default_factory=LeastError)

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise invalid("quantize.RoundActivations.bits", self.bits, "a whole number from 2 to 8")

    def edits(self, model: nn.Module, graph: Graph, evidence: Evidence) -> tuple[RoundActivation, ...]:
        """Returns the rounding of every place that the evidence has a histogram of.

        Args:
            model: the model that was captured.
            graph: its graph.
            evidence: with activations.
        """
        found = dict.fromkeys(_sites(model, weighted_calls(graph), called_once(graph)))
        known = [(module, side) for module, side in found if f"{module}:{side}" in evidence.activations]
        return tuple(
            RoundActivation(module, side, self.grid(evidence.activations[f"{module}:{side}"])) for module, side in known
        )

    def grid(self, histogram: Histogram) -> ActivationGrid:
        """Returns the grid for the values of a histogram."""
        values, mass = histogram.centres.float()[None], histogram.counts.float()[None]

        def squared(delta: Tensor) -> Tensor:
            return (delta.square() * mass).sum(1)

        steps = self.range.choose(values, mass, squared, bits=self.bits, symmetric=False)
        assert steps.zero_point is not None
        return ActivationGrid(bits=self.bits, scale=float(steps.scale), zero_point=int(steps.zero_point))


Site = tuple[str, Literal["input", "output"]]


def _sites(model: nn.Module, calls: Iterable[Call], once: frozenset[str]) -> Iterator[Site]:
    """Yields where values are rounded, in the order of execution; `once` are the modules that are called only once."""
    modules = dict(model.named_modules(remove_duplicate=False))
    rounded = {call.parameter for call in calls if isinstance(modules.get(call.module), LAYERS)}
    for call in calls:
        if call.parameter not in rounded:
            continue
        yield call.module, "input"
        read_rounded = all(op.parameter in rounded for op in call.consumers)
        if call.kind != "linear" and not read_rounded:
            leaves = [op.module for op in call.chain if op.module in once and not list(modules[op.module].children())]
            yield (leaves[-1] if leaves else call.module), "output"
