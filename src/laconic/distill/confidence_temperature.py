"""CWSM: samples of which the student is unsure are taught with sharper answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.distill.answers import Answers
from laconic.distill.sample_temperature import check_beta, cooled


@final
@dataclass(frozen=True, kw_only=True)
class ConfidenceTemperature:
    """A lower temperature for samples of which the student is unsure: `T_i = T + beta * (mean(w) - w_i)`.

    `w_i = 1 / max(softmax(student logits))`. For `SoftLabels(sample_temperature=...)`; no temperature falls below a
    tenth of T.

    Args:
        beta: how much temperatures differ, 0 or more.

    Guarantees:
        The mean temperature is T as long as none is held at its least.
        Samples of which the student is equally sure have one temperature.

    Reference:
        Wen, Lai, Qian, 2019, arXiv:1911.07471, section 3.3 (CWSM).

    Example:
        >>> rows = Answers(student=torch.tensor([[0.0, 0.0], [99.0, 0.0]]), teacher=torch.zeros(2, 2))
        >>> ConfidenceTemperature(beta=1.0)(rows, 4.0)
        tensor([3.5000, 4.5000])
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        check_beta("ConfidenceTemperature", self.beta)

    def __call__(self, rows: Answers, temperature: float) -> Tensor:
        """Returns a temperature for each row, `[rows]`."""
        with torch.no_grad():
            unsure = 1 / rows.student.softmax(-1).amax(-1)
        return cooled(rows, unsure, temperature, self.beta)
