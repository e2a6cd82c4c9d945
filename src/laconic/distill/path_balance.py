"""The penalty that keeps a soft decision tree using both sides of every node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.distill.feature import LearnedLoss
from laconic.distill.pair import Pair
from laconic.distill.soft_tree import node_log_probabilities

LEAST = 1e-6
"""Least share of a side: keeps the logarithm finite where nothing goes there."""


@final
@dataclass(frozen=True, kw_only=True)
class PathBalance(LearnedLoss):
    """Cross-entropy of one half with the share that goes right: `-sum_i 2^-d_i (log a_i + log(1 - a_i)) / 2`.

    At node i `a_i = sum P_i(x) p_i(x) / sum P_i(x)`, where `P_i` is the probability of reaching the node, at depth
    `d_i` (the root has 0), and `p_i` that of going right there. Both sums are exponential running means; the window of
    `1 / (1 - decay)` batches doubles with each level, as nodes further down see fewer samples. The gradient is the
    penalty's at the running share, taken with respect to the share of the batch, so that the weight of the penalty
    does not depend on the window.

    For `Match(teacher="", student="gates", loss=PathBalance(), weight=0.1)`; what the
    teacher gives is not looked at.

    Args:
        decay: how much of the running means stays in one step at the root, in [0, 1). 0: the batch alone there.

    Guarantees:
        It is least, `log 2` times the depth of the tree, where every node sends half of what reaches it to each side.

    Reference:
        Frosst, Hinton, 2017, arXiv:1711.09784, section 3.1.

    Example:
        >>> gates = torch.zeros(4, 3)
        >>> pair = Pair(student=gates, teacher=gates)
        >>> round(PathBalance().module(pair)(pair).item(), 4)  # log 2 at the root, half of it at each of its children
        1.3863
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise invalid("PathBalance.decay", self.decay, "a share in [0, 1)", "Usual values are 0.9 to 0.99.")

    def module(self, pair: Pair) -> nn.Module:
        """Returns the penalty with its running means.

        Raises:
            UsageError: the features are not those of the layer `gates` of a `SoftTree`.
        """
        shape = pair.student.shape
        if len(shape) != 2 or (shape[1] + 1).bit_count() != 1:
            raise invalid(
                "PathBalance: features",
                list(shape),
                "[samples, 2^depth - 1]",
                "Match the layer 'gates' of a SoftTree.",
            )
        return Balance(shape[1], self.decay)


@final
class Balance(nn.Module):
    """Running means of how often each node is reached and left to the right, and the penalty on them."""

    reached: Tensor
    right: Tensor

    def __init__(self, nodes: int, decay: float) -> None:
        super().__init__()
        depths = torch.arange(1, nodes + 1).log2().floor()
        self.register_buffer("reached", torch.zeros(nodes))
        self.register_buffer("right", torch.zeros(nodes))
        self.register_buffer("weights", torch.exp2(-depths), persistent=False)
        self.decay = decay

    def forward(self, pair: Pair) -> Tensor:
        """Returns the penalty, in nats; where gradients are on, the batch enters the running means."""
        reach = torch.cat(node_log_probabilities(pair.student)[:-1], dim=1).exp()
        reached, right = reach.mean(0), (reach * pair.student.sigmoid()).mean(0)
        running = self._follow(reached.detach(), right.detach())
        share = right / reached.clamp(min=torch.finfo(reached.dtype).tiny)
        share = (share + (running - share).detach()).clamp(LEAST, 1 - LEAST)
        weights = self.get_buffer("weights")
        return -(weights * (share.log() + (-share).log1p())).sum() / 2

    def _follow(self, reached: Tensor, right: Tensor) -> Tensor:
        fresh = (1 - self.decay) * self.get_buffer("weights")
        both = (
            self.reached.lerp(reached.to(self.reached.dtype), fresh),
            self.right.lerp(right.to(self.right.dtype), fresh),
        )
        if torch.is_grad_enabled():
            self.reached.copy_(both[0])
            self.right.copy_(both[1])
        return both[1] / both[0].clamp(min=torch.finfo(both[0].dtype).tiny)
