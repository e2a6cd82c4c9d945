"""A convolution between two pointwise ones that narrow its channels."""

from __future__ import annotations

from collections.abc import Iterator
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
class Tucker2(Factorization):
    """A kernel as `[out, r2] x [r2, r1, *kernel] x [r1, in]`: pointwise, the kernel in few channels, pointwise.

    Both ranks go down together, so that each side keeps the same share of its energy.

    Args:
        levels: how many pairs of ranks are worked out.
        iterations: of alternating least squares (higher-order orthogonal iteration), for each.

    Reference:
        Kim et al. 2016, arXiv:1511.06530, section 3; by tensorly (Kossaifi et al. 2019, JMLR 20).
    """

    levels: int = 12
    iterations: int = 20

    def __post_init__(self) -> None:
        for name in ("levels", "iterations"):
            check_whole(f"factorize.Tucker2.{name}", getattr(self, name), 1)

    def decompose(self, module: Module, layer: Layer, evidence: LayerEvidence | None = None) -> Decomposition | None:
        """Takes a convolution with one group and a kernel of more than one element apart."""
        kernel = plain_kernel(module)
        if kernel is None or not np.any(kernel):
            return None
        evidence = checked(module, layer, evidence)
        return Chains(module, layer, evidence, [self._factored(module, kernel, ranks) for ranks in self._ranks(kernel)])

    def _ranks(self, kernel: Array) -> Iterator[tuple[int, int]]:
        kept = [_kept(np.moveaxis(kernel, mode, 0).reshape(kernel.shape[mode], -1)) for mode in (0, 1)]
        shares = 1 - np.geomspace(1e-4, 0.9, self.levels)
        pairs = {(int(np.searchsorted(kept[0], s)) + 1, int(np.searchsorted(kept[1], s)) + 1) for s in shares}
        yield from sorted((min(o, kernel.shape[0]), min(i, kernel.shape[1])) for o, i in pairs)

    def _factored(self, module: Module, kernel: Array, ranks: tuple[int, int]) -> Factored:
        from tensorly.decomposition import partial_tucker  # type: ignore[import-untyped]  # Half a second to import.
        from tensorly.tenalg import multi_mode_dot  # type: ignore[import-untyped]  # The same.

        assert not isinstance(module, torch.nn.Linear)
        padding, dims = padding_of(module), len(module.kernel_size)
        assert padding is not None
        (core, (out, into)), _ = partial_tucker(
            kernel, rank=ranks, modes=[0, 1], init="svd", n_iter_max=self.iterations, tol=1e-6
        )
        middle = Stage(weight=single(core), stride=module.stride, padding=padding, dilation=module.dilation)
        stages = (pointwise(into.T, dims), middle, pointwise(out, dims))
        return Factored(ranks, stages, multi_mode_dot(core, [out, into], modes=[0, 1]))


def _kept(unfolded: Array) -> Array:
    """Returns the share of the energy in the first singular values, for every number of them from 1."""
    energy = np.linalg.svd(unfolded, compute_uv=False) ** 2
    share: Array = energy.cumsum() / energy.sum()
    return share
