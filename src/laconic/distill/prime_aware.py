"""Prime-aware distillation (PAD): samples that the student cannot follow count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.distill.feature import LearnedLoss, misfit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class PrimeAware(LearnedLoss):
    """Squared errors over a variance that the student tells: `mean((S - T)^2 / V + log V)`, `V = e + exp(v)`.

    `v`, one number for each entry, is a linear map of the student's features that is learned along.
    For flattened features of one width, such as those before the last layer; `Match(projection="linear")` joins other
    widths. The loss may be negative.

    Args:
        least: e, positive, below which no variance falls.

    Guarantees:
        For given variances the gradient of equal features is 0.
        It is at least `log e`, also where features are zero for both at all times, as those after a ReLU may be.

    Reference:
        Zhang, Lan, Dai, Zeng, Bai, Chang, Wei, 2020, arXiv:2008.01458 (PAD), equation 5,
        there without e in the logarithm.

    Example:
        >>> import torch
        >>> pair = Pair(student=torch.zeros(2, 3), teacher=torch.ones(2, 3))
        >>> PrimeAware().module(pair)(pair).shape
        torch.Size([])
    """

    least: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.least < float("inf"):
            raise invalid("PrimeAware.least", self.least, "a positive number")

    def module(self, pair: Pair) -> nn.Module:
        """Returns the map.

        Raises:
            UsageError: the flattened features have not one width.
        """
        student, teacher = (x.shape[1] for x in pair.rows())
        if student != teacher:
            raise misfit(pair, "PrimeAware", "the same width", "Match(projection='linear') joins different ones.")
        return _Weighed(student, self.least)


class _Weighed(nn.Module):
    def __init__(self, width: int, least: float) -> None:
        super().__init__()
        self.variance, self.least = nn.Linear(width, width), least
        nn.init.zeros_(self.variance.weight)
        nn.init.zeros_(self.variance.bias)

    def forward(self, pair: Pair) -> Tensor:
        student, teacher = pair.rows()
        variance: Tensor = self.least + self.variance(student).exp()
        return ((student - teacher).square() / variance + variance.log()).mean()
