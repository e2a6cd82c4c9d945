"""Images with a piece of another one in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.core.task import Batch
from laconic.distill.augment.mixing import check_alpha, mixed, order_of, share_of


@final
@dataclass(frozen=True, kw_only=True)
class CutMix:
    """A rectangle of each image is replaced by the same rectangle of another one of the batch.

    Its area is the share `1 - Beta(a, a)` of the image, its centre is drawn evenly; what lies outside is cut off.
    Teacher and student both see the result, and the teacher says what it is. Labels are dropped.

    Args:
        alpha: a, positive.

    Guarantees:
        Inputs that are no images `[samples, channels, height, width]` are left as they are.

    Reference:
        Yun, Han, Oh, Chun, Choe, Yoo, 2019, arXiv:1905.04899, section 3.1.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha("CutMix", self.alpha)

    def __call__(self, batch: Batch) -> Batch:
        """Returns the mixed images, without labels."""
        side, order = math.sqrt(1 - share_of(self.alpha)), order_of(batch)
        across, down = torch.rand(2).tolist()

        def mix(x: Tensor) -> Tensor:
            if x.dim() != 4:
                return x
            rows, columns = _span(down, side, x.shape[2]), _span(across, side, x.shape[3])
            found = x.clone()
            found[:, :, rows, columns] = x[order.to(x.device)][:, :, rows, columns]
            return found

        return mixed(batch, mix)


def _span(centre: float, side: float, length: int) -> slice:
    """Returns the pixels that a side covers, as a share of the length, around a centre."""
    start, stop = (round((centre + sign * side / 2) * length) for sign in (-1, 1))
    return slice(max(0, start), min(length, stop))
