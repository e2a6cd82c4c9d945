"""Weights that share numbers by a hash of their place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.codings import Hashed
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.hashing import WORD, shared_places
from laconic.core.sound import check_codable
from laconic.solve import conjugate_gradients

HALF = torch.finfo(torch.float16)


@final
@dataclass(frozen=True, kw_only=True)
class HashedSharing:
    """Weights as few numbers: `w_i = sign(i) v[bucket(i)]`, both by a hash of the place, so that only `v` is stored.

    Without evidence each number is the mean of the signed weights that share it. With it, the numbers are those that
    change the layer's output least, `tr(dW A dW^T)`, by conjugate gradients; outputs count as their gradients say where
    those are known.

    Random sharing keeps little of a trained weight: it is a start for training, which keeps the sharing.

    Args:
        compression: weights for each number, above 1. Numbers take two bytes where that does no harm, so the layer
            shrinks by twice as much.
        seed: of the hash, 0 to `2**32 - 1`.
        damping: added to the diagonal of `A`, as a share of its mean.
        steps: of conjugate gradients, one product with `A` each; 0: only its diagonal counts.

    Guarantees:
        The layer's output changes no more on the calibration data than with means weighed by their inputs' energy, up
        to damping and rounding.

    Reference:
        Chen et al. 2015, arXiv:1504.04788.

    Example:
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(32, 64))
        >>> coding = HashedSharing(compression=8).encode(torch.randn(32, 64), layer)
        >>> str(coding), coding.size_bytes
        ('256 numbers shared by 2,048 weights', 512)
    """

    compression: float = 8.0
    seed: int = 0
    damping: float = 0.01
    steps: int = 30

    def __post_init__(self) -> None:
        if not 1 < self.compression < math.inf:
            raise invalid("share.HashedSharing.compression", self.compression, "a number above 1")
        check_whole("share.HashedSharing.seed", self.seed, 0, WORD)
        if not self.damping > 0:
            raise invalid("share.HashedSharing.damping", self.damping, "a positive number")
        check_whole("share.HashedSharing.steps", self.steps, 0)

    def size_bytes(self, layer: Layer) -> int:
        """Returns the bytes that a layer would take, with numbers in half precision."""
        return 2 * max(1, math.ceil(math.prod(layer.shape) / self.compression))

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Hashed:
        """Returns the weight as shared numbers.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: all weights count alike.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """
        check_codable(weight, layer.parameter)
        weight = weight.detach().cpu().float()
        blank = Hashed(dims=layer.shape, seed=self.seed, values=torch.zeros(self.size_bytes(layer) // 2))
        if (evidence := reached(evidence)) is None:
            values = blank.encode(weight).values
        else:
            values = self._fitted(weight.double(), layer, evidence, len(blank.values))
        largest = float(values.abs().max())
        harmless = largest == 0 or HALF.smallest_normal <= largest <= HALF.max
        return Hashed(dims=layer.shape, seed=self.seed, values=values.half() if harmless else values)

    def _fitted(self, weight: Tensor, layer: Layer, evidence: LayerEvidence, buckets: int) -> Tensor:
        """Returns the numbers with the least error at the layer's output, float32 `[buckets]`."""
        bucket, sign = shared_places(weight.numel(), buckets, self.seed)
        size = weight.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
        moment, share = _damped(evidence.A, self.damping), _shares(layer, evidence)
        energy = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)

        def spread(values: Tensor) -> Tensor:
            return (values[bucket] * sign).view(layer.shape)

        def gathered(matrix: Tensor) -> Tensor:
            return torch.bincount(bucket, layer.weight(matrix * share).flatten() * sign, minlength=buckets)

        def felt(tensor: Tensor) -> Tensor:
            matrix = layer.matrix(tensor)
            return gathered(matrix * moment[:, None] if moment.dim() == 2 else matrix @ moment)

        mass = layer.weight((energy[:, None, :] * share).expand(layer.matrix_shape)).flatten()
        masses = torch.bincount(bucket, mass, minlength=buckets)
        sums = gathered(layer.matrix(weight / size) * energy[:, None, :])
        means = sums / torch.where(masses > 0, masses, 1.0)
        steps = 0 if moment.dim() == 2 else self.steps  # With a diagonal the means are the solution.
        found = conjugate_gradients(lambda x: felt(spread(x)), felt(weight / size), means, masses, steps=steps)
        return (found * size).clamp(-torch.finfo(torch.float32).max, torch.finfo(torch.float32).max).float()

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))


def _damped(moment: Tensor, damping: float) -> Tensor:
    """Returns a second moment, or its diagonal, of mean energy one, and a share of that more."""
    energy = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
    moment = moment / energy.mean()
    return moment + damping * (1.0 if moment.dim() == 2 else torch.eye(moment.shape[1], dtype=moment.dtype))


def _shares(layer: Layer, evidence: LayerEvidence) -> Tensor:
    """How much the error of each output counts, one on average, `[groups, outputs, 1]`."""
    if evidence.gradient_sum is None:
        return torch.ones(*layer.matrix_shape[:2], 1, dtype=torch.float64)
    energy = evidence.G if evidence.G.dim() == 2 else evidence.G.diagonal(dim1=1, dim2=2)
    mean = energy.mean()
    return (energy / mean + 0.01 if mean > 0 else torch.ones_like(energy))[:, :, None]
