"""Contrastive distillation (CRD): a sample's features are to be recognised among those of other samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from laconic.core.errors import check_whole
from laconic.distill.domain import check_temperature
from laconic.distill.feature import LearnedLoss, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class Contrastive(LearnedLoss):
    """Cross-entropy of finding a sample's teacher features by its student features among the batch, and back.

    `(mean_i -log softmax_j(s_i . t_j / T)_i + mean_i -log softmax_j(t_i . s_j / T)_i) / 2`

    with `s`, `t` the flattened features, mapped to one dimension by two linear layers that are learned along, of length
    1. The other samples of the batch are the ones to tell apart; the paper keeps a memory of more. A batch of one has
    none: 0.

    Args:
        dimension: of the space in which they are compared.
        temperature: T, positive.

    Guarantees:
        The loss is never negative.
        A positive factor on what is compared changes nothing.

    Reference:
        Tian, Krishnan, Isola, 2020, arXiv:1910.10699; in the batch and as cross-entropy: van den Oord, Li,
        Vinyals, 2018, arXiv:1807.03748, equation 4.

    Example:
        >>> pair = Pair(student=torch.eye(2), teacher=torch.eye(2))
        >>> bool(Contrastive(dimension=4).module(pair)(pair) > 0)
        True
    """

    dimension: int = 128
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_temperature("Contrastive", self.temperature)
        check_whole("Contrastive.dimension", self.dimension, 1)

    def module(self, pair: Pair) -> nn.Module:
        """Returns the comparison with its two linear layers."""
        student, teacher = (x.shape[-1] for x in pair.rows())
        return _Recognition(student, teacher, self.dimension, self.temperature)


class _Recognition(nn.Module):
    def __init__(self, student: int, teacher: int, dimension: int, temperature: float) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student, dimension), nn.Linear(teacher, dimension)
        self.temperature = temperature

    def forward(self, pair: Pair) -> Tensor:
        ours, theirs = pair.rows()
        student, teacher = (unit(layer(x)) for layer, x in ((self.student, ours), (self.teacher, theirs)))
        scores = student @ teacher.T / self.temperature
        own = torch.arange(len(scores), device=scores.device)
        return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
