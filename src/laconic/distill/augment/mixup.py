"""Samples that are a mixture of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.core.task import Batch
from laconic.distill.augment.mixing import check_alpha, mixed, order_of, share_of


@final
@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Each sample becomes `share * x + (1 - share) * x'`, with `x'` another one of the batch, `share ~ Beta(a, a)`.

    Teacher and student both see the mixture, and the teacher says what it is. Labels are dropped: no class is that of a
    mixture.

    Args:
        alpha: a, positive; small values leave most samples nearly as they are.

    Guarantees:
        Inputs of whole numbers, such as token ids, are left as they are.

    Reference:
        Zhang, Cisse, Dauphin, Lopez-Paz, 2018, arXiv:1710.09412; with a teacher that answers the mixed sample as in
        Beyer et al., 2021, arXiv:2106.05237, section 3.1.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha("Mixup", self.alpha)

    def __call__(self, batch: Batch) -> Batch:
        """Returns the mixed samples, without labels."""
        share, order = share_of(self.alpha), order_of(batch)

        def mix(x: Tensor) -> Tensor:
            return share * x + (1 - share) * x[order.to(x.device)]

        return mixed(batch, mix)
