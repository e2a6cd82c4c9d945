"""Which layers of teacher and student belong together, by depth and kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill.attended_layers import AttendedLayers
from laconic.distill.feature import FeatureLoss, LearnedLoss
from laconic.distill.layers import Layer, layers
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

    Both models answer one batch and are captured as graphs. Their layers are blocks that stand in rows (`Sequential`,
    `ModuleList`), else the outermost modules with others in them, else single ones. Layers of one form are paired: as
    many dimensions, and the same positions of a sequence, or images of the same size; of these first those that compute
    the same kind of thing: attention, convolution, recurrence, or other products. Depth is the number of products on
    the longest way from the inputs, as a share of the stretch over which a kind reaches: layers are paired in their
    order so that depths differ least. Of a model that cannot be captured a warning says so; its layers are counted.
    Where widths differ, a projection joins them. Every match is divided by its size before the first step and by the
    number of matches.

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
    pairs = [
        pair
        for form in dict.fromkeys(layer.form for layer in ours)
        for pair in _of_form([t for t in theirs if t.form == form], [s for s in ours if s.form == form])
    ]
    if not pairs:
        raise UsageError(
            "match: no layers of teacher and student are of one form (dimensions, positions); expected some for "
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


def _of_form(theirs: Sequence[Layer], ours: Sequence[Layer]) -> list[tuple[Layer, Layer]]:
    """Pairs layers of one form: those that compute the same kind of thing first, the others with what is left."""
    left, found = list(theirs), []
    for role in sorted({layer.role for layer in ours} & {layer.role for layer in theirs}, key=str):
        found += by_depth([t for t in theirs if t.role == role], [s for s in ours if s.role == role])
        left = [layer for layer in left if layer.role != role]
    alone = [layer for layer in ours if layer.role not in {t.role for t in theirs}]
    return sorted([*found, *by_depth(left, alone)], key=lambda pair: ours.index(pair[1]))


def by_depth(theirs: Sequence[Layer], ours: Sequence[Layer]) -> list[tuple[Layer, Layer]]:
    """Pairs layers in their order so that their depths differ least in all, each used once at most."""
    if not ours or not theirs:
        return []
    if len(ours) > len(theirs):
        return [(one, other) for other, one in by_depth(ours, theirs)]
    apart = np.abs(np.subtract.outer(_relative_depths(ours), _relative_depths(theirs)))
    least = np.full((len(ours) + 1, len(theirs) + 1), np.inf)
    least[0] = 0
    for i, j in np.ndindex(apart.shape):
        least[i + 1, j + 1] = min(least[i + 1, j], least[i, j] + apart[i, j])
    found, j = [], len(theirs) - 1
    for i in reversed(range(len(ours))):
        while least[i, j] + apart[i, j] > least[i + 1, j + 1] + 1e-9:  # Where two are as near, the deeper one stays.
            j -= 1
        found.append((theirs[j], ours[i]))
        j -= 1
    return found[::-1]


def _relative_depths(found: Sequence[Layer]) -> list[float]:
    """Returns where each layer ends on the stretch from the first one's begin, 0, to the last one's end, 1."""
    start, stop = min(layer.begin for layer in found), max(layer.end for layer in found)
    return [(layer.end - start) / max(stop - start, 1) for layer in found]


def _projection(one: Layer, other: Layer) -> Projection | None:
    images = len(one.shape) > 3
    width = (layer.shape[1] if images else layer.shape[-1] for layer in (one, other))
    return None if len(set(width)) == 1 else "conv" if images else "linear"


def _shown(name: str, found: Sequence[Layer]) -> str:
    shown = ", ".join(f"{layer.path} {list(layer.shape[1:])}" for layer in found[:3])
    return f"The {name} has {shown or 'none'}{' and others' if len(found) > 3 else ''}"
