"""Activations on grids of 2 to 8 bits, where multiplications read them and integer kernels write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, final

import torch
from torch import Tensor, nn

from laconic.calibrate import ChannelHistograms, Evidence, Histogram, input_channels
from laconic.core.activation_grids import ActivationGrid, ChannelGrid, Rounding, TokenGrid
from laconic.core.edit import RoundActivation
from laconic.core.errors import UsageError, check_whole, invalid
from laconic.graph import Call, Graph, called_once, weighted_calls
from laconic.quantize.ranges import LeastError, Range, Steps

Side = Literal["input", "output"]
Shared = Literal["tensor", "channel", "token"]


@final
@dataclass(frozen=True, kw_only=True)
class RoundActivations:
    """Rounds what linear layers and convolutions read, and what convolutions hand to anything else.

    An integer kernel of a convolution gives integers, so its result needs a grid of its own wherever the next reader
    does not bring one: before an addition, a pooling, the model's output. It is put behind the normalisation and
    activation that follow where these are modules, since runtimes fuse them.

    Args:
        bits: of what linear layers and convolutions read, 2 to 8.
        per: what shares a range there. `"tensor"`: all values, the only one that integer kernels know. `"channel"`:
            each channel, from `calibrate(..., activations="channels")`. `"token"`: each vector that a linear layer
            multiplies, found as the model runs; a convolution multiplies no vector of one position, so what it reads
            keeps one range for the whole tensor.
        range: how far a grid reaches, chosen on the histograms of the calibration data. Single values may lie 50 times
            as far out as all others, so ranges are tried down to a 50th of the full one.
        output_bits: of what convolutions hand to anything else, 2 to 8. An addition or a pooling multiplies nothing, so
            fewer than 8 gain little there and cost much.
        first_bits: of what the layer reads that runs first, the data itself, 2 to 8; None: as `bits`.

    Guarantees:
        Zero is exact on every grid, so padding stays zero.
    """

    bits: int = 8
    per: Shared = "tensor"
    range: Range = field(default_factory=lambda: LeastError(candidates=100, narrowest=0.02))
    output_bits: int = 8
    first_bits: int | None = None

    def __post_init__(self) -> None:
        for name in ("bits", "output_bits", "first_bits"):
            bits = getattr(self, name)
            if bits is not None or name != "first_bits":
                check_whole(f"quantize.RoundActivations.{name}", bits, 2, 8)
        if self.per not in ("tensor", "channel", "token"):
            raise invalid("quantize.RoundActivations.per", self.per, "'tensor', 'channel' or 'token'")

    @property
    def evidence(self) -> Literal[True, "channels"]:
        """What `calibrate(..., activations=...)` has to gather."""
        return "channels" if self.per == "channel" else True

    def edits(self, model: nn.Module, graph: Graph, evidence: Evidence) -> tuple[RoundActivation, ...]:
        """Returns the rounding of every place that the evidence has a histogram of.

        Args:
            model: the model that was captured.
            graph: its graph.
            evidence: with activations.

        Raises:
            UsageError: a range for each channel is wanted, and the evidence holds none.
        """
        modules = dict(model.named_modules(remove_duplicate=False))
        found = dict.fromkeys(_sites(modules, weighted_calls(graph), called_once(graph)))
        known = [(module, side) for module, side in found if f"{module}:{side}" in evidence.activations]
        first = replace(self, bits=self.first_bits or self.bits, first_bits=None)
        kinds = [first, *[self] * len(known)]
        return tuple(
            RoundActivation(path, side, kind._rounding(modules[path], path, side, evidence))
            for kind, (path, side) in zip(kinds, known, strict=False)
        )

    def _rounding(self, module: nn.Module, path: str, side: Side, evidence: Evidence) -> Rounding:
        key, dim = f"{path}:{side}", input_channels(module)
        if side == "output":
            return self.grid(evidence.activations[key], bits=self.output_bits)
        if self.per == "token" and isinstance(module, nn.Linear):
            return TokenGrid(bits=self.bits)
        if self.per == "channel" and dim is not None:
            if key not in evidence.channels:
                raise UsageError(
                    f"quantize.RoundActivations.per: the evidence holds no ranges of the channels of {key}; expected "
                    "some for 'channel'. Use calibrate(..., activations='channels')."
                )
            return self.channels(evidence.channels[key], dim)
        return self.grid(evidence.activations[key], bits=self.bits)

    def grid(self, histogram: Histogram, *, bits: int) -> ActivationGrid:
        """Returns the grid for the values of a histogram."""
        steps = self._steps(histogram.centres.float()[None], histogram.counts.float()[None], bits)
        assert steps.zero_point is not None
        return ActivationGrid(bits=bits, scale=float(steps.scale), zero_point=int(steps.zero_point))

    def channels(self, histograms: ChannelHistograms, dim: int) -> ChannelGrid:
        """Returns the grids for the values of each channel; dimension `dim` counts them."""
        ends = torch.stack([histograms.minimum, histograms.maximum], 1)
        values = torch.cat([histograms.centres, ends], 1)
        mass = torch.cat([histograms.counts.float(), torch.ones_like(ends)], 1) * values.isfinite()
        steps = self._steps(values.nan_to_num(posinf=0, neginf=0), mass, self.bits)
        assert steps.zero_point is not None
        scale, zero = tuple(steps.scale.tolist()), tuple(int(zero) for zero in steps.zero_point.tolist())
        return ChannelGrid(bits=self.bits, dim=dim, scale=scale, zero_point=zero)

    def _steps(self, values: Tensor, mass: Tensor, bits: int) -> Steps:
        def squared(delta: Tensor) -> Tensor:
            return (delta.square() * mass).sum(1)

        return self.range.choose(values, mass, squared, bits=bits, symmetric=False)


Site = tuple[str, Side]


def _sites(modules: Mapping[str, nn.Module], calls: Iterable[Call], once: frozenset[str]) -> Iterator[Site]:
    """Yields where values are rounded, in the order of execution; `once` are the modules that are called only once."""
    layers = {path for path, module in modules.items() if input_channels(module) is not None}
    rounded = {call.parameter for call in calls if call.module in layers}
    for call in calls:
        if call.parameter not in rounded:
            continue
        yield call.module, "input"
        read_rounded = all(op.parameter in rounded for op in call.consumers)
        if call.kind != "linear" and not read_rounded:
            leaves = [op.module for op in call.chain if op.module in once and not list(modules[op.module].children())]
            yield (leaves[-1] if leaves else call.module), "output"
