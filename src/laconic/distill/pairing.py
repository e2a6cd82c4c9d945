"""Which layers of teacher and student belong together, by depth and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from laconic.core.errors import UsageError
from laconic.core.task import Batch, Task
from laconic.distill.answering import answering
from laconic.distill.attended_layers import AttendedLayers
from laconic.distill.feature import FeatureLoss, LearnedLoss
from laconic.distill.match import Match, Projection
from laconic.distill.same_features import SameFeatures


def pair_layers(
    teacher: nn.Module,
    student: nn.Module,
    task: Task,
    *,
    loss: FeatureLoss | LearnedLoss | None = None,
    weight: float = 1.0,
    teacher_task: Task | None = None,
    learned: bool = False,
) -> tuple[Match, ...]:
    """Finds matches by itself: what `match="auto"` stands for, and, learned, `match="learned"`.

    Both models answer one batch. Of the layers that repeat in each (the children of a `Sequential` or `ModuleList` that
    hold others of their own, else all children), those of one kind are paired: as many dimensions, and the same
    positions of a sequence, or images of the same size. The i-th of n such layers of the student gets the teacher's at
    the same depth, `ceil(i * teacher's / n)`. Where widths differ, a projection joins them. Every match is divided by
    its size before the first step and by the number of matches.

    Args:
        teacher: left as it is.
        student: left as it is.
        task: its first training batch is answered.
        loss: of every match; None: `SameFeatures()`, or learned `AttendedLayers()`, the only kind that is.
        weight: of all matches together, positive.
        teacher_task: how the teacher is called where it is another way.
        learned: each of these layers of the student learns from all layers of the teacher that it can be joined to, by
            attention that is learned along, instead of from the one at its depth.

    Raises:
        UsageError: no layers are alike enough, or a loss that cannot compare one layer with several.

    Reference:
        Depth by depth as in Sun, Cheng, Gan, Liu, 2019, arXiv:1908.09355 (PKD-skip) and Jiao et al., 2020,
        arXiv:1909.10351, section 4.
    """
    batch = next(task.batches("train", limit=4))
    theirs, ours = layers(teacher, batch, teacher_task or task), layers(student, batch, task)
    pairs = [pair for kind in dict.fromkeys(layer.kind for layer in ours) for pair in _of_kind(theirs, ours, kind)]
    if not pairs:
        raise UsageError(
            "match: no layers of teacher and student are of one kind (dimensions, positions); expected some for "
            f"'auto'. {_shown('teacher', theirs)}; {_shown('student', ours)}. Write Match(...) for your own choice."
        )
    if learned:
        return _attended(theirs, [other for _, other in pairs], loss, weight)
    chosen = loss or SameFeatures()
    return tuple(
        Match(
            teacher=one.path, student=other.path, loss=chosen, weight=weight / len(pairs),
            projection=_projection(one, other), balance=True,
        )
        for one, other in pairs
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module that is called once and gives a tensor.

    Args:
        path: of the module.
        shape: of what it gives, `[samples, ...]`.
    """

    path: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> tuple[int, ...]:
        """Dimensions and positions: image size, or length of a sequence."""
        positions = self.shape[2:] if len(self.shape) > 3 else self.shape[1:-1]
        return (len(self.shape), *positions)

    def joins(self, other: Layer) -> bool:
        """Whether a projection can join the two: images of any size, else as many positions."""
        images = len(self.shape) > 3
        return len(self.shape) == len(other.shape) and (images or self.kind == other.kind)


def layers(model: nn.Module, batch: Batch, task: Task) -> list[Layer]:
    """Returns the layers of a model that repeat, in the order in which they are called."""
    found: dict[str, list[tuple[int, ...]]] = {}
    handles = [module.register_forward_hook(_listener(found, path)) for path, module in _repeated(model)]
    try:
        with answering(model) as device:
            task.forward(model, batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    return [Layer(path=path, shape=shapes[0]) for path, shapes in found.items() if len(shapes) == 1]


def _repeated(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns what stands in rows of modules: blocks where there are some, else single layers."""
    rows = [(path, row) for path, row in model.named_modules() if isinstance(row, nn.Sequential | nn.ModuleList)]
    inside = [(f"{path}.{name}".lstrip("."), child) for path, row in rows for name, child in row.named_children()]
    blocks = [
        (path, child)
        for path, child in inside
        if any(True for _ in child.children()) and not isinstance(child, nn.ModuleList)
    ]
    return blocks or [(path, child) for path, child in inside if any(True for _ in child.parameters())]


def _listener(found: dict[str, list[tuple[int, ...]]], path: str) -> Any:
    def listen(_module: nn.Module, _args: Any, output: Any) -> None:
        given = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(given, Tensor) and given.is_floating_point() and given.dim() > 1:
            found.setdefault(path, []).append(tuple(given.shape))

    return listen


def _attended(
    theirs: Sequence[Layer], ours: Sequence[Layer], loss: FeatureLoss | LearnedLoss | None, weight: float
) -> tuple[Match, ...]:
    """Compares each of our layers with all of theirs that it can be joined to."""

    def match(own: Layer) -> Match:
        near = [layer for layer in theirs if layer.joins(own)]
        joined = [_projection(layer, own) for layer in near]
        images = len(own.shape) > 3
        return Match(
            teacher=tuple(layer.path for layer in near), student=own.path, weight=weight / len(ours), balance=True,
            loss=loss or AttendedLayers(channel_axis=1 if images else -1), projection=next(filter(None, joined), None),
        )  # fmt: skip

    return tuple(map(match, ours))


def _of_kind(theirs: Sequence[Layer], ours: Sequence[Layer], kind: tuple[int, ...]) -> list[tuple[Layer, Layer]]:
    """Pairs the layers of one kind by depth; a teacher's layer is used once at most."""
    first, second = ([layer for layer in side if layer.kind == kind] for side in (theirs, ours))
    count = min(len(first), len(second))
    return [(_at(first, i, count), _at(second, i, count)) for i in range(1, count + 1)]


def _at(side: Sequence[Layer], index: int, count: int) -> Layer:
    return side[-(-index * len(side) // count) - 1]


def _projection(one: Layer, other: Layer) -> Projection | None:
    images = len(one.shape) > 3
    width = (layer.shape[1] if images else layer.shape[-1] for layer in (one, other))
    return None if len(set(width)) == 1 else "conv" if images else "linear"


def _shown(name: str, found: Sequence[Layer]) -> str:
    shown = ", ".join(f"{layer.path} {list(layer.shape[1:])}" for layer in found[:3])
    return f"The {name} has {shown or 'none'}{' and others' if len(found) > 3 else ''}"
