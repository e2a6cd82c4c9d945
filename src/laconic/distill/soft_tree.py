"""A soft decision tree: a student whose answer is a path of yes and no that one can look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid

from laconic.core.errors import DataError, check_whole, invalid

Answer = Literal["mixture", "greatest path"]
DEEPEST = 16
"""A tree has `2^depth` leaves; a deeper one than this is a slip."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a tree answered what it did to one sample: the leaf it reaches with the greatest probability.

    Args:
        nodes: inner nodes on the way, the root first; node i has the children 2i + 1 (left) and 2i + 2 (right).
        right: for each of them, the probability of going right, in [0, 1].
        turns: for each of them, whether the path goes right.
        leaf: where it ends, from 0 at the left.
        probability: of the whole path, in [0, 1].
        distribution: the leaf's probability of each class.
    """

    nodes: tuple[int, ...]
    right: tuple[float, ...]
    turns: tuple[bool, ...]
    leaf: int
    probability: float
    distribution: tuple[float, ...]


@final
class SoftTree(nn.Module):
    """Mixes the class distributions of `2^depth` leaves by the probabilities of the paths that lead to them.

    Node i sends a sample x to the right with probability `sigmoid(beta (x w_i + b_i))`; the probability of a path is
    the product along it, and a leaf answers every sample with the same learned distribution `softmax(phi)`. The logits
    are log-probabilities, so that any loss on logits trains it.

    The layer `gates` gives the arguments of the sigmoids, `[samples, nodes]`, for
    `Match(student="gates", loss=PathBalance())`.

    Args:
        inputs: numbers in a sample; samples of any shape are flattened.
        classes: of the answer, from 2.
        depth: decisions on each path, 1 to 16.
        inverse_temperature: beta, positive: higher values make harder decisions.
        answer: in eval mode, `"mixture"`: of all leaves; `"greatest path"`: of the likeliest leaf alone, which is what
            `explain` shows. While training it is always the mixture.

    Raises:
        UsageError: an argument outside its domain.

    Guarantees:
        The probabilities of all paths sum to 1, and so do those of the classes.

    Reference:
        Frosst, Hinton, 2017, arXiv:1711.09784.

    Example:
        >>> tree = SoftTree(inputs=64, classes=10, depth=3)
        >>> x = torch.zeros(5, 1, 8, 8)
        >>> tree(x).shape, tree.paths(x).shape, len(tree.explain(x)[0].nodes)
        (torch.Size([5, 10]), torch.Size([5, 8]), 3)
    """

    def __init__(
        self,
        *,
        inputs: int,
        classes: int,
        depth: int,
        inverse_temperature: float = 1.0,
        answer: Answer = "mixture",
    ) -> None:
        super().__init__()
        for name, value, least in (("inputs", inputs, 1), ("classes", classes, 2)):
            check_whole(f"SoftTree.{name}", value, least)
        check_whole("SoftTree.depth", depth, 1, DEEPEST)
        if not 0 < inverse_temperature < math.inf:
            raise invalid("SoftTree.inverse_temperature", inverse_temperature, "a positive number")
        if answer not in get_args(Answer):
            raise invalid("SoftTree.answer", answer, "'mixture' or 'greatest path'")
        self.inputs, self.classes, self.depth, self.answer = inputs, classes, depth, answer
        self.gates = Gates(inputs, 2**depth - 1, inverse_temperature)
        self.leaves = Leaves(2**depth, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the log-probabilities of the classes, `[samples, classes]`, in nats."""
        paths = path_log_probabilities(self.gates(self._rows(x)))
        mixture: Tensor = self.leaves(paths)
        if self.training or self.answer == "mixture":
            return mixture
        return self.leaves.log_distributions()[paths.argmax(-1)]

    def paths(self, x: Tensor) -> Tensor:
        """Returns the probability of the path to each leaf, `[samples, 2^depth]`; each row sums to 1."""
        return path_log_probabilities(self.gates(self._rows(x))).exp()

    @torch.no_grad()
    def explain(self, x: Tensor) -> tuple[Explanation, ...]:
        """Returns for each sample the likeliest path, the decisions on it, and what its leaf says."""
        gates = self.gates(self._rows(x))
        probabilities, leaves = path_log_probabilities(gates).exp().max(-1)
        distributions = self.leaves.log_distributions().exp()
        return tuple(
            self._explanation(row, leaf, probability, distributions[leaf])
            for row, leaf, probability in zip(gates.sigmoid(), leaves.tolist(), probabilities.tolist(), strict=True)
        )

    def way(self, leaf: int) -> tuple[tuple[int, bool], ...]:
        """Returns the inner nodes on the path to a leaf, the root first, and for each whether it goes right."""
        node, found = 2**self.depth - 1 + leaf, []
        while node > 0:
            found.append(((node - 1) // 2, node % 2 == 0))
            node = (node - 1) // 2
        return tuple(reversed(found))

    def _explanation(self, right: Tensor, leaf: int, probability: float, distribution: Tensor) -> Explanation:
        nodes, turns = zip(*self.way(leaf), strict=True)
        return Explanation(
            nodes=nodes,
            right=tuple(right[list(nodes)].tolist()),
            turns=turns,
            leaf=leaf,
            probability=probability,
            distribution=tuple(distribution.tolist()),
        )

    def _rows(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x[0:1].numel() not in (0, self.inputs):
            raise DataError(
                f"SoftTree: got samples of shape {list(x.shape)}; expected [samples, ...] with {self.inputs} numbers "
                "each. Build the tree with SoftTree(inputs=...) of your data."
            )
        return x.flatten(1)


@final
class Gates(nn.Module):
    """The filters of all inner nodes: `beta (x w + b)`, `[samples, inputs]` to `[samples, nodes]`."""

    def __init__(self, inputs: int, nodes: int, inverse_temperature: float) -> None:
        super().__init__()
        self.filters = nn.Linear(inputs, nodes)
        self.inverse_temperature = inverse_temperature

    def forward(self, x: Tensor) -> Tensor:
        """Returns the arguments of the sigmoids."""
        found: Tensor = self.inverse_temperature * self.filters(x)
        return found


@final
class Leaves(nn.Module):
    """The distributions of all leaves; maps log-probabilities of paths to those of classes."""

    def __init__(self, leaves: int, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(leaves, classes))

    def forward(self, paths: Tensor) -> Tensor:
        """Returns the log of the mixture, `[samples, leaves]` to `[samples, classes]`."""
        return (paths[:, :, None] + self.log_distributions()).logsumexp(1)

    def log_distributions(self) -> Tensor:
        """Returns the log-probabilities of the classes in each leaf, `[leaves, classes]`."""
        return log_softmax(self.logits.to(torch.promote_types(self.logits.dtype, torch.float32)), dim=-1)


def path_log_probabilities(gates: Tensor) -> Tensor:
    """Returns the log-probability of the path to each leaf, in nats.

    Args:
        gates: arguments of the sigmoids of nodes in order of breadth, `[samples, 2^depth - 1]`.

    Returns:
        `[samples, 2^depth]`, from left to right, in float32 or better.

    Example:
        >>> path_log_probabilities(torch.tensor([[0.0, 0.0, 0.0]])).exp()
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return node_log_probabilities(gates)[-1]


def node_log_probabilities(gates: Tensor) -> list[Tensor]:
    """Returns the log-probability of reaching each node, level by level: `[samples, 2^level]`, the leaves last."""
    exact = gates.to(torch.promote_types(gates.dtype, torch.float32))
    right, left = logsigmoid(exact), logsigmoid(-exact)
    reached = [exact.new_zeros(len(exact), 1)]
    while (width := reached[-1].shape[1]) <= gates.shape[1]:
        level = slice(width - 1, 2 * width - 1)
        both = torch.stack([left[:, level], right[:, level]], dim=-1)
        reached.append((reached[-1][:, :, None] + both).flatten(1))
    return reached
