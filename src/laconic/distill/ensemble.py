"""Several teachers as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from laconic.core.errors import ModelError, invalid
from laconic.core.task import read_logits
from laconic.distill.domain import check_temperature


@final
class Ensemble(nn.Module):
    """Answers with the mean of its members' probabilities: `T * log sum_k w_k softmax(logits_k / T)`.

    Softened by the same temperature T, as in `SoftLabels(temperature=T)`, these logits give exactly the mean of the
    members' softened probabilities. For a `Match` the members' layers are `members.0.PATH`, `members.1.PATH`...

    Args:
        members: models that answer the same task in the same shape.
        weights: of the members, positive; they are divided by their sum. None: all alike.
        temperature: T, positive.
        class_axis: the logits' class dimension.
        regression: the members answer with values, of which the plain mean is taken.
        logits: finds the logits in a member's output, as `Task(logits=...)` does.
        mixed: False: the answers stay side by side, `[samples, members, ...]`, for `EachTeacher`, which weighs them
            sample by sample; the weights are then not used.

    Guarantees:
        Members that agree give what each of them gives, up to a constant on all logits of a position.

    The answer is a tensor, which the task's own `logits` must take as it is; the default does.

    Reference:
        Hinton, Vinyals, Dean, 2015, arXiv:1503.02531, section 1 (arithmetic mean); You, Xu, Xu, Tao, 2017, KDD.

    Example:
        >>> sure, unsure = nn.Linear(1, 2), nn.Linear(1, 2)
        >>> ensemble = Ensemble([sure, unsure], weights=[3, 1], temperature=4)
        >>> ensemble(torch.zeros(5, 1)).shape
        torch.Size([5, 2])
    """

    weights: Tensor

    def __init__(
        self,
        members: Sequence[nn.Module],
        *,
        weights: Sequence[float] | None = None,
        temperature: float = 1.0,
        class_axis: int = 1,
        regression: bool = False,
        logits: Callable[[Any], Tensor] = read_logits,
        mixed: bool = True,
    ) -> None:
        super().__init__()
        given = [1.0] * len(members) if weights is None else list(weights)
        if len(given) != len(members) or not given or not all(0 < w < math.inf for w in given):
            raise invalid(
                "Ensemble.weights", given, f"a positive number for each of {len(members)} members, at least one"
            )
        check_temperature("Ensemble", temperature)
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.tensor(given) / sum(given))
        self.temperature, self.class_axis, self.regression, self.logits = temperature, class_axis, regression, logits
        self.mixed = mixed

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the mean answer, or all of them.

        Raises:
            ModelError: the members answer in different shapes.
        """
        answers = [self.logits(member(*args, **kwargs)) for member in self.members]
        if len(shapes := {tuple(answer.shape) for answer in answers}) > 1:
            raise ModelError(
                f"Ensemble: the members answer in the shapes {sorted(map(list, shapes))}; expected one shape. Give all "
                "the same number of classes or outputs."
            )
        exact = torch.stack(answers).to(torch.promote_types(answers[0].dtype, torch.float32))
        if not self.mixed:
            return exact.movedim(0, 1)
        weights = self.weights.view(-1, *[1] * answers[0].dim())
        if self.regression:
            return (weights * exact).sum(0)
        axis = self.class_axis % answers[0].dim() + 1
        return mixture(exact, weights, self.temperature, axis)


def mixture(answers: Tensor, weights: Tensor, temperature: float, class_axis: int) -> Tensor:
    """Returns logits whose softened probabilities are the weighted mean of those of several answers.

    Args:
        answers: logits, `[members, samples, ...]`.
        weights: of the members, which sum to 1 along the first dimension; of a shape that spreads to that of answers.
        temperature: at which they are softened.
        class_axis: the class dimension of `answers`.
    """
    return temperature * (weights.log() + log_softmax(answers / temperature, dim=class_axis)).logsumexp(0)
