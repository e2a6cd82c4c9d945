"""Contrastive distillation (CRD) with a memory: a sample is told apart from many that are not in its batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from laconic.core.errors import check_whole, invalid
from laconic.distill.domain import check_temperature
from laconic.distill.feature import LearnedLoss, unit
from laconic.distill.memory import Memory
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class ContrastiveMemory(LearnedLoss):
    """Noise-contrastive estimation against what was seen of other samples before, from both sides.

    `-mean_i [log h(s_i, M_i) + sum_j log(1 - h(s_i, M_j))]` and the same with the sides changed, where
    `h(s, M) = P / (P + k / N)`, `P = exp(s . M / T) / Z`, `s` a sample's flattened features mapped to `dimension` by a
    linear layer that is learned along, of length 1; `M` is the memory of the other network's: one entry a sample,
    `M_i <- unit(momentum * M_i + (1 - momentum) * t_i)` whenever it is met. The k negatives `j` are drawn from the
    memory at each step, for all samples of a batch the same, without a sample's own. Z is the mean of
    `N exp(s . M / T)` over the negatives of the first step.

    A sample is known by the batch's input `sample_ids` where there is one, else by what is in it: with random
    augmentation give ids, and `Task(call=taking(...))` that leaves them out. Several processes have a memory each.

    Args:
        samples: N, how many the memory holds; beyond that the oldest go.
        negatives: k, at most.
        dimension: of the space in which they are compared.
        temperature: T, positive.
        momentum: how much of an entry stays, in [0, 1).

    Guarantees:
        The loss is never negative; without other samples in the memory it is 0.
        A positive factor on what is compared changes nothing.

    Reference:
        Tian, Krishnan, Isola, 2020, arXiv:1910.10699, equations 9 to 18; Z and momentum as in Wu, Xiong, Yu, Lin,
        2018, arXiv:1805.01978.

    Example:
        >>> pair = Pair(student=torch.eye(2), teacher=torch.eye(2), samples=torch.tensor([7, 8]))
        >>> bool(ContrastiveMemory(samples=10, dimension=4).module(pair)(pair) > 0)
        True
    """

    samples: int = 50_000
    negatives: int = 4096
    dimension: int = 128
    temperature: float = 0.07
    momentum: float = 0.5
    by_sample: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_temperature("ContrastiveMemory", self.temperature)
        for name in ("samples", "negatives", "dimension"):
            check_whole(f"ContrastiveMemory.{name}", getattr(self, name), 1)
        if not 0 <= self.momentum < 1:
            raise invalid("ContrastiveMemory.momentum", self.momentum, "a share in [0, 1)", "Usual is 0.5.")

    def module(self, pair: Pair) -> nn.Module:
        """Returns the comparison with its two linear layers and its memory."""
        student, teacher = (x.shape[-1] for x in pair.rows())
        return _Comparison(self, student, teacher)


class _Comparison(nn.Module):
    sizes: Tensor

    def __init__(self, config: ContrastiveMemory, student: int, teacher: int) -> None:
        super().__init__()
        self.config = config
        self.student, self.teacher = nn.Linear(student, config.dimension), nn.Linear(teacher, config.dimension)
        self.memory = Memory(config.samples, config.dimension, sides=2)
        self.register_buffer("sizes", torch.zeros(2))

    def forward(self, pair: Pair) -> Tensor:
        if pair.samples is None:
            raise invalid("ContrastiveMemory: Pair.samples", None, "what each sample is known by, int64 [samples]")
        ours, theirs = pair.rows()
        student, teacher = (unit(layer(x)) for layer, x in ((self.student, ours), (self.teacher, theirs)))
        now = torch.stack([student, teacher]).detach()
        slots = self.memory.slots(pair.samples, now)
        drawn = self.memory.drawn(self.config.negatives)
        known = self.memory.entries
        sides = ((student, known[1], 0), (teacher, known[0], 1))
        loss = sum((self._side(x, other, slots, drawn, side) for x, other, side in sides), student.new_zeros(()))
        self.memory.move(slots, now, self.config.momentum)
        return loss

    def _side(self, anchors: Tensor, other: Tensor, slots: Tensor, drawn: Tensor, side: int) -> Tensor:
        different = drawn != slots[:, None]
        if not different.any():
            return 0 * anchors.sum()
        against = anchors @ other[drawn].T / self.config.temperature
        own = (anchors * other[slots]).sum(-1) / self.config.temperature
        if self.sizes[side] == 0:
            raised = against.detach().where(different, -torch.inf).flatten().logsumexp(0) - different.sum().log()
            self.sizes[side] = raised + torch.tensor(float(self.config.samples)).log()
        noise = different.sum(1).clamp(min=1).log() - torch.tensor(float(self.config.samples)).log() + self.sizes[side]
        right = logsigmoid(own - noise)
        wrong = logsigmoid(noise[:, None] - against).where(different, 0).sum(1)
        return -(right + wrong).mean()
