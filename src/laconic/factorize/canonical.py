"""A convolution as a sum of separable ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.errors import check_whole
from laconic.core.spec import Stage
from laconic.factorize.decomposition import Decomposition, Factorization, Module, checked, padding_of
from laconic.factorize.tensors import Array, Chains, Factored, plain_kernel, pointwise, single


@final
@dataclass(frozen=True, kw_only=True)
class CanonicalPolyadic(Factorization):
    """A kernel as a sum of `r` outer products: pointwise, one depthwise convolution a spatial dimension, pointwise.

    Very cheap at a small rank, and hard to train on afterwards (its terms tend to cancel each other).

    Args:
        levels: how many ranks are worked out.
        iterations: of alternating least squares, for each.
        seed: of its starting points.

    Reference:
        Lebedev et al. 2015, arXiv:1412.6553, section 3; by tensorly (Kossaifi et al. 2019, JMLR 20).
    """

    levels: int = 8
    iterations: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("levels", "iterations"):
            check_whole(f"factorize.CanonicalPolyadic.{name}", getattr(self, name), 1)

    def decompose(self, module: Module, layer: Layer, evidence: LayerEvidence | None = None) -> Decomposition | None:
        """Takes a convolution with one group and a kernel of more than one element apart."""
        kernel = plain_kernel(module)
        if kernel is None or not np.any(kernel):
            return None
        evidence = checked(module, layer, evidence)
        most = (kernel.size - 1) // sum(kernel.shape)
        ranks = sorted({int(r) for r in np.geomspace(1, most, self.levels)}) if most else []
        found = (self._factored(module, kernel, rank) for rank in ranks)
        return Chains(module, layer, evidence, [one for one in found if one is not None])

    def _factored(self, module: Module, kernel: Array, rank: int) -> Factored | None:
        """Returns terms of some number; None where the kernel is a sum of fewer, and no others can be told apart."""
        from tensorly.decomposition import parafac  # type: ignore[import-untyped]  # Half a second to import.

        assert not isinstance(module, torch.nn.Linear)
        settings = {"n_iter_max": self.iterations, "init": "random", "tol": 1e-6, "random_state": self.seed}
        try:
            found = parafac(kernel, rank=rank, **settings)
        except np.linalg.LinAlgError:
            return None
        out, into, *spatial = found.factors
        scaled = out * found.weights
        dims = len(spatial)
        along = tuple(_along(module, factor, dim, dims) for dim, factor in enumerate(spatial))
        stages = (pointwise(into.T, dims), *along, pointwise(scaled, dims))
        whole = scaled[:, None] * into[None]
        for factor in spatial:
            whole = whole[..., None, :] * factor
        return Factored((rank,), stages, whole.sum(-1))


def _along(module: Module, factor: Array, dim: int, dims: int) -> Stage:
    """Returns a depthwise convolution along one spatial dimension, from `[kernel, channels]`."""
    assert not isinstance(module, torch.nn.Linear)
    padding = padding_of(module)
    assert padding is not None
    shape, only = [1] * dims, [int(d == dim) for d in range(dims)]
    shape[dim] = factor.shape[0]
    return Stage(
        weight=single(factor.T).reshape(factor.shape[1], 1, *shape),
        stride=tuple(s if here else 1 for s, here in zip(module.stride, only, strict=True)),
        padding=tuple(p if here else 0 for p, here in zip(padding, only, strict=True)),
        dilation=tuple(d if here else 1 for d, here in zip(module.dilation, only, strict=True)),
        groups=factor.shape[1],
    )
