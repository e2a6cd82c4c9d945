"""What one pass over data tells about a model, and the price in nats that follows from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar, cast, final

import torch
from torch import Tensor

from laconic.calibrate.channel_histograms import ChannelHistograms
from laconic.calibrate.histogram import Histogram
from laconic.calibrate.layer import Layer, preferred
from laconic.core.errors import ArtifactError, UsageError, invalid
from laconic.core.files import read_tensors, write_tensors

T = TypeVar("T")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerEvidence:
    """What passed through one layer.

    Sums run over positions: the places where the layer's matrix is applied (a linear layer on `[samples, tokens,
    features]` has `samples * tokens`, a convolution has one for each output pixel).

    Args:
        layer: the parameter and how it acts.
        input_sum: sum of `x x^T`, float64 `[groups, inputs, inputs]`; its diagonal `[groups, inputs]` for an embedding,
            where nothing else is there, and for a layer of more than 12,288 inputs, where the rest is left out.
        gradient_sum: sum of `g g^T`, float64 `[groups, outputs, outputs]`, or its diagonal beyond 12,288 outputs. `g`
            is the gradient, at the layer's output, of the sum of `-log p(label)` over all predictions of a batch, with
            labels drawn from the model's own predictions. None: no gradients were gathered.
        positions: how many there were in each group, int64 `[groups]`.
        predictions: how many answers the model gave in the whole pass: one a sample for a classifier, one a token for a
            language model, one for each output value for a regression.

    Reference:
        Martens and Grosse 2015, arXiv:1503.05671 (G from the model's own distribution); Grosse and Martens 2016,
        arXiv:1602.01407, equation 25: for weights shared by many positions, sums of inputs and means of gradients.
    """

    layer: Layer
    input_sum: Tensor
    gradient_sum: Tensor | None
    positions: Tensor
    predictions: int
    _known: dict[str, tuple[Hashable, object]] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        groups, outputs, inputs = self.layer.matrix_shape
        sizes = (("input_sum", self.input_sum, inputs), ("gradient_sum", self.gradient_sum, outputs))
        for name, moment, size in sizes:
            if moment is not None and tuple(moment.shape) not in ((groups, size, size), (groups, size)):
                expected = f"shape {[groups, size, size]} or {[groups, size]}"
                raise invalid(f"LayerEvidence({self.layer.parameter}).{name}", list(moment.shape), expected)

    @property
    def A(self) -> Tensor:  # noqa: N802 - the design's and the literature's name
        """Second moment of the inputs per prediction; float64, the shape of `input_sum`."""
        return self.input_sum / self.predictions

    @property
    def G(self) -> Tensor:  # noqa: N802
        """Second moment of the output gradients, mean over positions; float64, the shape of `gradient_sum`.

        Raises:
            UsageError: no gradients were gathered.
        """
        return self._gradient_sum / self._positions(self._gradient_sum.dim())

    def with_gradients_of(self, other: LayerEvidence | None) -> LayerEvidence:
        """Returns the evidence with another's gradients where it has none, for inputs gathered in a changed model."""
        if self.gradient_sum is not None or other is None or other.gradient_sum is None:
            return self
        G = other.G
        return replace(self, gradient_sum=G * self.positions.reshape(-1, *[1] * (G.dim() - 1)))

    def remembering(self) -> Self:
        """Returns the same evidence, which keeps what is worked out `once`, for those who ask next."""
        found = replace(self)
        object.__setattr__(found, "_known", {})
        return found

    def once(self, name: str, settings: Hashable, make: Callable[[], T]) -> T:
        """Returns what is made from this evidence: where it remembers, what was made last, unless settings differ.

        Args:
            name: of what is made; one of each name is kept, since of a wide layer a single one takes much memory.
            settings: what it depends on beside the evidence.
            make: makes it; whoever gets it leaves it as it is.
        """
        if self._known is None:
            return make()
        held = self._known.get(name)
        if held is None or held[0] != settings:
            self._known.pop(name, None)  # Two of them are never held at once.
            held = self._known[name] = (settings, make())
        return cast(T, held[1])

    def nats(self, delta: Tensor) -> float:
        """Returns the estimate `1/2 tr(G dW A dW^T)` of KL(original || changed) per prediction, in nats.

        Args:
            delta: changed weight minus original, of the layer's shape.
        """
        matrix = self.layer.matrix(delta.detach().cpu().double())
        A, G = self.input_sum, self._gradient_sum
        passed = matrix @ A if A.dim() == 3 else matrix * A[:, None, :]
        pulled = G @ matrix if G.dim() == 3 else G[:, :, None] * matrix
        return 0.5 * float((pulled * passed / self._positions(3)).sum()) / self.predictions

    @property
    def _gradient_sum(self) -> Tensor:
        if self.gradient_sum is None:
            raise UsageError(
                f"{self.layer.parameter}: this evidence holds no gradients; expected some, to give prices in nats. Use "
                "calibrate(..., gradients=True), and no torch.no_grad inside the model's forward."
            )
        return self.gradient_sum

    def _positions(self, dims: int) -> Tensor:
        """As divisors; a group that nothing reached has none, and its sums are zero."""
        return self.positions.clamp_min(1).reshape(-1, *[1] * (dims - 1))

    def __add__(self, other: LayerEvidence) -> LayerEvidence:
        gradients = None
        if self.gradient_sum is not None and other.gradient_sum is not None:
            gradients = self.gradient_sum + other.gradient_sum
        return LayerEvidence(
            layer=self.layer,
            input_sum=self.input_sum + other.input_sum,
            gradient_sum=gradients,
            positions=self.positions + other.positions,
            predictions=self.predictions + other.predictions,
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What one pass over data tells about a model. Evidence of several passes or processes adds up.

    Args:
        uses: one entry for each way in which a parameter acts. Nearly always one a parameter; an embedding that is tied
            to the output layer has two.
        activations: histograms keyed by `"module.path:input"` (a module's first positional argument) and
            `"module.path:output"`. Infinite values are left out.
        channels: histograms of each channel of what linear layers and convolutions read, where asked for; keyed alike.
        samples: how many samples were seen.
        predictions: how many answers the model gave to them.
        unreached: weights (parameters of two or more dimensions) that no recognised product used: their share of the
            model's function is unknown, and they have no price.

    Guarantees:
        Evidence of two halves of the data adds up to that of all, whatever the order, up to rounding of sums in
        float64. `load` gives back exactly what `save` wrote.
    """

    uses: tuple[LayerEvidence, ...]
    activations: Mapping[str, Histogram]
    samples: int
    predictions: int
    unreached: tuple[str, ...] = ()
    channels: Mapping[str, ChannelHistograms] = field(default_factory=dict)

    def __str__(self) -> str:
        """What was seen, in one line."""
        gradients = "with" if self.has_gradients else "without"
        unreached = f"; not reached: {', '.join(self.unreached)}" if self.unreached else ""
        return f"Evidence of {self.samples:,} samples: {len(self.layers)} weights, {gradients} gradients{unreached}"

    @cached_property
    def layers(self) -> Mapping[str, LayerEvidence]:
        """One entry a parameter: where it has several uses, the first that is more than an embedding."""
        found: dict[str, LayerEvidence] = {}
        for use in self.uses:
            held = found.get(use.layer.parameter)
            if held is None or preferred(held.layer, use.layer) is use.layer:
                found[use.layer.parameter] = use
        return found

    @property
    def has_gradients(self) -> bool:
        """Whether it says what changes cost in nats."""
        return all(use.gradient_sum is not None for use in self.uses)

    def nats(self, parameter: str, delta: Tensor) -> float:
        """Returns what a change of one parameter costs, summed over all its uses: nats per prediction.

        Args:
            parameter: its name.
            delta: changed weight minus original.

        Raises:
            UsageError: there is no evidence for the parameter, or none with gradients.
        """
        uses = [use for use in self.uses if use.layer.parameter == parameter]
        if not uses:
            known = ", ".join(self.layers)
            raise invalid("Evidence.nats", parameter, f"a parameter with evidence: {known}")
        return sum(use.nats(delta) for use in uses)

    def __add__(self, other: Evidence) -> Evidence:
        predictions = self.predictions + other.predictions
        merged = {use.layer: use for use in self.uses}
        for use in other.uses:
            merged[use.layer] = merged[use.layer] + use if use.layer in merged else use
        reached = {layer.parameter for layer in merged}
        unreached = dict.fromkeys((*self.unreached, *other.unreached))
        return Evidence(
            uses=tuple(replace(use, predictions=predictions) for use in merged.values()),
            activations=_merged(self.activations, other.activations),
            samples=self.samples + other.samples,
            predictions=predictions,
            unreached=tuple(name for name in unreached if name not in reached),
            channels=_merged(self.channels, other.channels),
        )

    def save(self, path: Path | str) -> None:
        """Writes one safetensors file, whole or not at all."""
        tensors = {f"activation.{i}": h.counts for i, h in enumerate(self.activations.values())}
        for i, use in enumerate(self.uses):
            tensors |= {f"use.{i}.input": use.input_sum, f"use.{i}.positions": use.positions}
            if use.gradient_sum is not None:
                tensors[f"use.{i}.gradient"] = use.gradient_sum
        for i, each in enumerate(self.channels.values()):
            tensors |= {f"channels.{i}.{name}": tensor for name, tensor in vars(each).items()}
        index = {
            "samples": self.samples,
            "predictions": self.predictions,
            "unreached": self.unreached,
            "layers": [vars(use.layer) for use in self.uses],
            "activations": {name: h.config() for name, h in self.activations.items()},
            "channels": list(self.channels),
        }
        tensors["index"] = torch.frombuffer(bytearray(json.dumps(index).encode()), dtype=torch.uint8)
        write_tensors(Path(path), tensors)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads what `save` wrote; nothing in the file is executed.

        Raises:
            ArtifactError: the file is missing, damaged, or holds something else.
        """
        tensors = read_tensors(Path(path))
        try:
            return cls._from_parts(json.loads(bytes(tensors["index"].tolist())), tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path}: holds no evidence that Laconic wrote ({error}).") from error

    @classmethod
    def _from_parts(cls, index: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        uses = tuple(
            LayerEvidence(
                layer=Layer(**layer | {"shape": tuple(layer["shape"])}),
                input_sum=tensors[f"use.{i}.input"],
                gradient_sum=tensors.get(f"use.{i}.gradient"),
                positions=tensors[f"use.{i}.positions"],
                predictions=index["predictions"],
            )
            for i, layer in enumerate(index["layers"])
        )
        activations = {
            name: Histogram.from_parts(config, tensors[f"activation.{i}"])
            for i, (name, config) in enumerate(index["activations"].items())
        }
        return cls(
            uses=uses,
            activations=activations,
            samples=index["samples"],
            predictions=index["predictions"],
            unreached=tuple(index["unreached"]),
            channels={
                name: ChannelHistograms(
                    **{f.name: tensors[f"channels.{i}.{f.name}"] for f in fields(ChannelHistograms)}
                )
                for i, name in enumerate(index.get("channels", ()))
            },
        )


Counted = TypeVar("Counted", Histogram, ChannelHistograms)


def _merged(one: Mapping[str, Counted], other: Mapping[str, Counted]) -> dict[str, Counted]:
    return {**one, **{name: one[name] + h if name in one else h for name, h in other.items()}}
