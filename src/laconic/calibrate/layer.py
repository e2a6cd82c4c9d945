"""A layer: a parameter and how it acts, so that every technique can see it as matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from laconic.core.errors import invalid

Kind = Literal["linear", "conv", "conv_transpose", "embedding"]
RECURRENT_WEIGHTS = ("weight_ih", "weight_hh", "weight_hr")
ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@final
@dataclass(frozen=True, kw_only=True)
class Layer:
    """One parameter and the linear map it stands for: `y = W x` for each group of channels.

    For a convolution `x` is the patch of the input that a kernel sees; for a transposed one the patch of the input with
    zeros put between its elements; for an embedding the one-hot vector of the row that is looked up.

    Args:
        parameter: its name in `model.named_parameters()`.
        kind: what acts.
        shape: the parameter's.
        groups: independent maps inside the parameter: of a grouped convolution, of a weight whose rows are used in
            equal parts with different inputs (attention's `in_proj_weight`), or of a stack of matrices.
        transposed: a linear map written `x @ W` with `W [inputs, outputs]`.

    Guarantees:
        `weight(matrix(w))` is `w`.

    Example:
        >>> layer = Layer(parameter="features.0.weight", kind="conv", shape=(8, 2, 3, 3), groups=2)
        >>> layer.matrix_shape, layer.output_axis
        ((2, 4, 18), 0)
    """

    parameter: str
    kind: Kind
    shape: tuple[int, ...]
    groups: int = 1
    transposed: bool = False

    @property
    def output_axis(self) -> int:
        """The weight's dimension that counts output channels; for an embedding its rows."""
        if self.kind == "linear":
            return len(self.shape) - (1 if self.transposed else 2)
        return 1 if self.kind == "conv_transpose" else 0

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """`(groups, outputs, inputs)`, both per group."""
        if self.kind == "embedding":
            return 1, self.shape[1], self.shape[0]
        if self.kind == "conv_transpose":
            return self.groups, self.shape[1], self.shape[0] // self.groups * math.prod(self.shape[2:])
        if self.kind == "conv":
            return self.groups, self.shape[0] // self.groups, math.prod(self.shape[1:])
        inputs = self.shape[-2 if self.transposed else -1]
        return self.groups, math.prod(self.shape) // inputs // self.groups, inputs

    def matrix(self, weight: Tensor) -> Tensor:
        """Returns a tensor of the parameter's shape as `[groups, outputs, inputs]`."""
        if tuple(weight.shape) != self.shape:
            raise invalid(
                f"Layer({self.parameter}).matrix", list(weight.shape), f"a tensor of shape {list(self.shape)}"
            )
        if self.kind == "embedding" or self.transposed:
            weight = weight.mT
        if self.kind == "conv_transpose":
            weight = weight.flip(self._spatial).reshape(self.groups, -1, *self.shape[1:]).transpose(1, 2)
        return weight.reshape(self.matrix_shape)

    def weight(self, matrix: Tensor) -> Tensor:
        """Undoes `matrix`."""
        if tuple(matrix.shape) != self.matrix_shape:
            expected = f"a tensor of shape {list(self.matrix_shape)}"
            raise invalid(f"Layer({self.parameter}).weight", list(matrix.shape), expected)
        if self.kind == "conv_transpose":
            groups, outputs, _ = self.matrix_shape
            kernels = matrix.reshape(groups, outputs, -1, *self.shape[2:])
            return kernels.transpose(1, 2).flatten(0, 1).flip(self._spatial)
        if self.kind == "embedding" or self.transposed:
            return matrix.reshape(*self.shape[:-2], self.shape[-1], self.shape[-2]).mT
        return matrix.reshape(self.shape)

    @property
    def _spatial(self) -> tuple[int, ...]:
        return tuple(range(2, len(self.shape)))


def layers(model: nn.Module) -> tuple[Layer, ...]:
    """Returns the layers that a model's module types tell of, without running it; one for each parameter.

    Linear maps written with a bare parameter are seen only when the model runs: `calibrate` finds them. A parameter
    that serves both as an embedding and as a linear layer is listed as the linear one.

    Example:
        >>> [layer.parameter for layer in layers(nn.Sequential(nn.Embedding(5, 2), nn.ReLU(), nn.Linear(2, 5)))]
        ['0.weight', '2.weight']
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, Layer] = {}
    for module in model.modules():
        for attribute, kind, groups in _declared(module):
            weight = module._parameters.get(attribute)
            if weight is None or is_lazy(weight):
                continue
            layer = Layer(parameter=names[id(weight)], kind=kind, shape=tuple(weight.shape), groups=groups)
            found[layer.parameter] = preferred(found.get(layer.parameter), layer)
    return tuple(found[name] for name in names.values() if name in found)


def preferred(first: Layer | None, second: Layer) -> Layer:
    """Returns which of two uses of one parameter stands for it: the first that is more than an embedding."""
    return second if first is None or first.kind == "embedding" else first


def _declared(module: nn.Module) -> Iterator[tuple[str, Kind, int]]:
    match module:
        case nn.Linear():
            yield "weight", "linear", 1
        case _ConvTransposeNd():
            yield "weight", "conv_transpose", module.groups
        case _ConvNd():
            yield "weight", "conv", module.groups
        case nn.Embedding() | nn.EmbeddingBag():
            yield "weight", "embedding", 1
        case nn.MultiheadAttention():
            yield from ((name, "linear", 1) for name in ATTENTION_WEIGHTS)
        case nn.RNNBase() | nn.RNNCellBase():
            yield from ((name, "linear", 1) for name in module._parameters if name.startswith(RECURRENT_WEIGHTS))
