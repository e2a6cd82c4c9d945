"""Between forward and reverse divergence: what a student does that cannot be everywhere its teacher is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from laconic.core.errors import invalid
from laconic.distill.answers import answers
from laconic.distill.domain import check_share, check_temperature
from laconic.distill.lesson import DistillationLoss, Lesson


@final
@dataclass(frozen=True, kw_only=True)
class JensenShannon(DistillationLoss):
    """The generalised Jensen-Shannon divergence of teacher `p` and student `q`, both softened by a temperature.

    `beta * KL(p || m) + (1 - beta) * KL(q || m)` with `m = beta * p + (1 - beta) * q`, times `T^2`; for `beta` 0 it is
    `KL(p || q)`, which spreads the student over all that the teacher may say, and for 1 the reverse `KL(q || p)`, which
    keeps it to what the teacher is likely to say: the two limits of the divergence over `beta` and over `1 - beta`.

    Args:
        beta: in [0, 1].
        temperature: T, positive.
        hard_weight: share of the loss on labels, in [0, 1]; without labels the rest stands alone, with weight 1.
        class_axis: the logits' class dimension. None: where the labels' shape puts it; without labels only `[n, c]` is
            clear.

    Guarantees:
        The loss of a student that answers like the teacher is 0, and so is its gradient.
        With `beta` between 0 and 1 it is at most `log 2` for T = 1, however different the two are.
        With `beta` 0 it is `SoftLabels`.

    Reference:
        Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem, 2024, arXiv:2306.13649, equation 1; reverse: Gu, Dong,
        Wei, Huang, 2024, arXiv:2306.08543.

    Example:
        >>> lesson = Lesson(student=torch.tensor([[0.0, 9.0]]), teacher=torch.tensor([[9.0, 0.0]]))
        >>> {name: round(term.item(), 3) for name, term in JensenShannon().terms(lesson).items()}
        {'divergence': 0.692}
    """

    beta: float = 0.5
    temperature: float = 1.0
    hard_weight: float = 0.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise invalid("JensenShannon.beta", self.beta, "a number in [0, 1]", "0 is forward, 1 is reverse.")
        check_temperature("JensenShannon", self.temperature)
        check_share("JensenShannon", self.hard_weight)

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns `divergence` and, where labels have a share, `labels`.

        Raises:
            DataError: the class dimension is not clear, or labels are out of range.
        """
        rows = answers(lesson, "JensenShannon", self.class_axis)
        p, q = (log_softmax(x / self.temperature, dim=-1) for x in (rows.teacher, rows.student))
        nats = rows.mean(self._divergence(p, q)) * self.temperature**2
        return lesson.mix({"divergence": nats}, self.hard_weight)

    def _divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Returns the divergence of each row from log-probabilities."""
        if self.beta in (0, 1):
            return _nats(p, q) if self.beta == 0 else _nats(q, p)
        weights = p.new_tensor([self.beta, 1 - self.beta]).log()
        mixture = torch.logaddexp(p + weights[0], q + weights[1])
        return self.beta * _nats(p, mixture) + (1 - self.beta) * _nats(q, mixture)


def _nats(p: Tensor, q: Tensor) -> Tensor:
    """Returns `KL(p || q)` of each row."""
    return kl_div(q, p, reduction="none", log_target=True).sum(-1)
