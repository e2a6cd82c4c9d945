"""Hierarchical context: features are to be alike close up and from afar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from laconic.core.errors import invalid
from laconic.distill.feature import FeatureLoss, at_same_size, misfit, same_shape
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class HierarchicalContext(FeatureLoss):
    """Squared errors of images of features as they are and averaged down: `sum_l w_l mean((S_l - T_l)^2) / sum_l w_l`.

    `S_0` is the image itself, `S_l` the same averaged down to `sizes[l]` pixels a side, `w_l = 2^-l`. Sizes that are
    not smaller than the image are left out. Images of different sizes are averaged down to the smaller one first.

    Args:
        sizes: sides in pixels, falling.

    Guarantees:
        The distance of equal features is 0, and so is its gradient.
        Without sizes it is `SameFeatures`.

    Reference:
        Chen, Liu, Zhao, Jia, 2021, arXiv:2104.09044, section 3.3 (HCL); the sizes and weights are those of its code.

    Example:
        >>> import torch
        >>> pair = Pair(student=torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]]), teacher=torch.zeros(1, 1, 2, 2))
        >>> round(HierarchicalContext(sizes=(1,)).distance(pair).item(), 4)  # (1 * 1 + 0.5 * 0) / 1.5
        0.6667
    """

    sizes: tuple[int, ...] = (4, 2, 1)

    def __post_init__(self) -> None:
        if not all(isinstance(size, int) and size > 0 for size in self.sizes) or list(self.sizes) != sorted(
            set(self.sizes), reverse=True
        ):
            raise invalid(
                "HierarchicalContext.sizes", self.sizes, "whole numbers from 1, falling", "Usual is (4, 2, 1)."
            )

    def distance(self, pair: Pair) -> Tensor:
        """Returns the weighted mean of squared errors.

        Raises:
            UsageError: the features are no images, or of different width.
        """
        if pair.student.dim() != 4 or pair.teacher.dim() != 4:
            raise misfit(
                pair, "HierarchicalContext", "images [samples, channels, height, width]", "Match a convolution."
            )
        student, teacher = at_same_size(pair.student, pair.teacher)
        same_shape(Pair(student=student, teacher=teacher), "HierarchicalContext")
        total, weight, weights = (student - teacher).square().mean(), 1.0, 1.0
        for size in self.sizes:
            if size < min(student.shape[2:]):
                weight /= 2
                weights += weight
                error = adaptive_avg_pool2d(student, size) - adaptive_avg_pool2d(teacher, size)
                total = total + weight * error.square().mean()
        return total / weights
