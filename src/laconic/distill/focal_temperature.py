"""FLSW: samples on which the two disagree are taught with sharper answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from laconic.core.errors import invalid
from laconic.distill.answers import Answers
from laconic.distill.sample_temperature import check_beta, cooled


@final
@dataclass(frozen=True, kw_only=True)
class FocalTemperature:
    """A lower temperature for samples on which student and teacher differ: `T_i = T + beta * (mean(w) - w_i)`.

    `w_i = (1 - cos(student logits, teacher logits))^gamma`, as in focal loss. For `SoftLabels(sample_temperature=...)`;
    no temperature falls below a tenth of T.

    Args:
        beta: how much temperatures differ, 0 or more.
        gamma: how much large differences stand out, positive.

    Guarantees:
        The mean temperature is T as long as none is held at its least.
        Samples on which both agree alike have one temperature.

    Reference:
        Wen, Lai, Qian, 2019, arXiv:1911.07471, section 3.3 (FLSW).

    Example:
        >>> rows = Answers(student=torch.tensor([[1.0, 0.0], [1.0, 0.0]]), teacher=torch.tensor([[2.0, 0], [0, 2.0]]))
        >>> FocalTemperature(beta=1.0, gamma=1.0)(rows, 4.0)
        tensor([4.5000, 3.5000])
    """

    beta: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_beta("FocalTemperature", self.beta)
        if not 0 < self.gamma < float("inf"):
            raise invalid("FocalTemperature.gamma", self.gamma, "a positive number")

    def __call__(self, rows: Answers, temperature: float) -> Tensor:
        """Returns a temperature for each row, `[rows]`."""
        with torch.no_grad():
            apart = (1 - cosine_similarity(rows.student, rows.teacher, dim=-1)).clamp(min=0)
        return cooled(rows, apart**self.gamma, temperature, self.beta)
