"""Value relations (MiniLM): how the values of an attention layer's tokens relate to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from laconic.core.errors import check_whole
from laconic.distill.answers import FAR_BELOW
from laconic.distill.feature import FeatureLoss, misfit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class ValueRelations(FeatureLoss):
    """Divergence of relations: `mean KL(R(teacher) || R(student))` in nats.

    `R(V) = softmax(V V^T / sqrt(width))` for each head. For the layers that project to values, `[samples, positions,
    width]`; also for queries and keys (MiniLMv2). Teacher and student may differ in width. Positions that the mask
    leaves out neither relate nor are related to.

    Args:
        heads: into how many equal parts the last dimension is cut, the same for both; 1: none.

    Guarantees:
        The distance of equal features is 0, and so is its gradient; it is never negative.
        A rotation of the features (of each head) changes nothing.
        Positions that the mask leaves out get no gradient.

    Reference:
        Wang, Wei, Dong, Bao, Yang, Zhou, 2020, arXiv:2002.10957, section 3.2.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2, 4), torch.tensor([[[2.0], [0.0]]])
        >>> round(ValueRelations().distance(Pair(student=student, teacher=teacher)).item(), 4)
        0.3015
    """

    heads: int = 1

    def __post_init__(self) -> None:
        check_whole("ValueRelations.heads", self.heads, 1)

    def distance(self, pair: Pair) -> Tensor:
        """Returns the mean divergence in nats.

        Raises:
            UsageError: the features are no sequences of the same length, or their width cannot be cut into the heads.
        """
        if any(x.dim() != 3 or x.shape[-1] % self.heads for x in (pair.student, pair.teacher)):
            raise misfit(pair, "ValueRelations", f"[samples, positions, a multiple of {self.heads}]", "")
        if pair.student.shape[1] != pair.teacher.shape[1]:
            raise misfit(pair, "ValueRelations", "as many positions", "")
        student, teacher = (self._relations(x, pair.mask) for x in (pair.student, pair.teacher))
        nats = kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
        return pair.mean(nats.transpose(1, 2))

    def _relations(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Returns log-probabilities `[samples, heads, positions, positions]`."""
        cut = values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)
        scores = cut @ cut.mT / cut.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], FAR_BELOW)
        return log_softmax(scores, dim=-1)
