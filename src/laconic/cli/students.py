"""Students of another kind that a recipe can name: a soft decision tree, an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from laconic.cli.load import called
from laconic.core.errors import invalid
from laconic.core.task import Task
from laconic.distill import SoftTree, Tabular, draw_tree, into_sklearn
from laconic.distill.soft_tree import Answer


@final
@dataclass(frozen=True, kw_only=True)
class Tree:
    """A `SoftTree`; taught by `TreeGrowth` unless the recipe names a loss, layers or another method.

    Args:
        inputs: numbers of a sample.
        classes: how many.
        depth: of the tree.
        inverse_temperature: of its filters.
        answer: `mixture`, or `greatest path`.
        picture: where its picture goes, as SVG; None: nowhere.
        shape: height and width of the inputs in the picture.
    """

    inputs: int
    classes: int
    depth: int
    inverse_temperature: float = 1.0
    answer: Answer = "mixture"
    picture: str | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shape is not None and len(self.shape) != 2:
            raise invalid("SoftTree.shape", self.shape, "height and width")

    def build(self) -> SoftTree:
        """Returns the tree, untrained; one that its picture would not fit is refused now."""
        tree = SoftTree(
            inputs=self.inputs, classes=self.classes, depth=self.depth, answer=self.answer,
            inverse_temperature=self.inverse_temperature,
        )  # fmt: skip
        self.drawn(tree)
        return tree

    def drawn(self, tree: SoftTree) -> str:
        """Returns the tree's picture, as SVG."""
        height, width = self.shape or (1, self.inputs)
        return draw_tree(tree, shape=(height, width))


@final
@dataclass(frozen=True, kw_only=True)
class Sklearn:
    """An estimator that learns from the teacher's answers to a table, as by `into_sklearn`.

    Args:
        estimator: `module:function` that builds it, or `module:Class`.
        arguments: of that.
        temperature: of the teacher's probabilities.
        hard_weight: share of the labels.
    """

    estimator: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    hard_weight: float = 0.0

    def taught(self, teacher: nn.Module, task: Task) -> TableModel:
        """Returns the fitted estimator, as a module that answers a batch."""
        estimator = called(self.estimator, "student: Sklearn", **self.arguments)
        return TableModel(
            into_sklearn(teacher, estimator, task, temperature=self.temperature, hard_weight=self.hard_weight)
        )


@final
class TableModel(nn.Module):
    """A fitted estimator that is asked like a network; before it is fitted it only stands for one."""

    def __init__(self, found: Tabular | None = None) -> None:
        super().__init__()
        self.found = found

    def forward(self, x: Tensor, *_others: Any, **_named: Any) -> Tensor:
        """Returns log-probabilities or values, float32."""
        assert self.found is not None, "TableModel: is asked before it is fitted"
        return torch.from_numpy(self.found.outputs(x)).float()
