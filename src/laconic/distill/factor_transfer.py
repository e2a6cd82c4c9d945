"""Factor transfer (FT): the teacher's features are put into other words first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn
from torch.nn.functional import interpolate

from laconic.core.errors import invalid
from laconic.distill.feature import LearnedLoss, misfit, unit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class FactorTransfer(LearnedLoss):
    """`mean abs(unit(P(student)) - unit(Q(teacher)))`, plus what it costs to tell the teacher's features back from Q.

    Q, the paraphraser, is an encoder of two convolutions of 3 x 3 pixels whose decoder is to give the teacher's
    features back; P, the translator, has the same form. All are trained along, which the paper does beforehand for Q;
    nothing but that second term, `mean (D(Q(teacher)) - teacher)^2`, moves Q. No `Match(projection=...)` is needed.

    Args:
        rate: channels of the factors over the teacher's, in (0, 1].

    Guarantees:
        The loss is never negative.

    Reference:
        Kim, Park, Kwak, 2018, arXiv:1802.04977, equations 1 and 3.

    Example:
        >>> import torch
        >>> pair = Pair(student=torch.ones(2, 3, 4, 4), teacher=torch.ones(2, 6, 2, 2))
        >>> FactorTransfer().module(pair)(pair).shape
        torch.Size([])
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise invalid("FactorTransfer.rate", self.rate, "a share in (0, 1]", "Usual is 0.5.")

    def module(self, pair: Pair) -> nn.Module:
        """Returns paraphraser and translator.

        Raises:
            UsageError: the features are no images.
        """
        if pair.student.dim() != 4 or pair.teacher.dim() != 4:
            raise misfit(pair, "FactorTransfer", "images [samples, channels, height, width]", "Match a convolution.")
        theirs = pair.teacher.shape[1]
        return _Factors(pair.student.shape[1], theirs, max(1, round(self.rate * theirs)))


class _Factors(nn.Module):
    def __init__(self, student: int, teacher: int, factors: int) -> None:
        super().__init__()
        self.translator, self.encoder = _coder(student, factors), _coder(teacher, factors)
        self.decoder = _coder(factors, teacher)

    def forward(self, pair: Pair) -> Tensor:
        factors = self.encoder(pair.teacher)
        told_back: Tensor = (self.decoder(factors) - pair.teacher).square().mean()
        ours, theirs = self.translator(pair.student), factors.detach()
        if ours.shape[2:] != theirs.shape[2:]:
            ours = interpolate(ours, theirs.shape[2:], mode="bilinear", align_corners=False)
        apart = (unit(ours.flatten(1)) - unit(theirs.flatten(1))).abs().mean()
        return apart + told_back


def _coder(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(outputs, outputs, 3, padding=1)
    )
