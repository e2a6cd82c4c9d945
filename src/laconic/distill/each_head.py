"""Several heads with classes of their own, each taught like an answer by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from laconic.core.errors import DataError, ModelError, invalid
from laconic.distill.lesson import DistillationLoss, Lesson
from laconic.distill.weighing import summed


@final
@dataclass(frozen=True, kw_only=True)
class EachHead(DistillationLoss):
    """The mean over heads of a loss on answers, where heads have different numbers of classes.

    The logits of all heads stand side by side in the last dimension, as `Task(logits=reading("topic", "tone"))` puts
    them; `labels[..., i]` is the class of head i, -100 where it does not count. The task's criterion is asked head by
    head. Heads of one size need no more than `reading`.

    Args:
        loss: on the answers of one head, such as `SoftLabels(hard_weight=0.5)`.
        sizes: the number of classes of each head, in order.

    Guarantees:
        A single head is the loss itself.

    Reference:
        Yang, Cui, Chen, Che, Liu, Wang, Hu, 2020, arXiv:2002.12620 (TextBrewer), which averages the losses of a list of
        logits.

    Example:
        >>> from laconic.distill import SameLogits
        >>> lesson = Lesson(student=torch.zeros(1, 3), teacher=torch.tensor([[1.0, 1.0, 2.0]]))
        >>> EachHead(loss=SameLogits(), sizes=(2, 1)).terms(lesson)
        {'logits': tensor(2.5000)}
    """

    loss: DistillationLoss
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes or not all(isinstance(size, int) and size > 0 for size in self.sizes):
            raise invalid("EachHead.sizes", self.sizes, "the number of classes of each head, from 1")

    def terms(self, lesson: Lesson) -> dict[str, Tensor]:
        """Returns the terms of the loss, averaged over the heads.

        Raises:
            ModelError: the logits have another number of classes in all.
            DataError: labels are not one class for each head.
        """
        classes = lesson.student.shape[-1]
        if classes != sum(self.sizes):
            raise ModelError(f"EachHead.sizes: got {self.sizes} for {classes} logits; expected sizes that sum to them.")
        labels = lesson.labels
        if labels is not None and labels.shape != (*lesson.student.shape[:-1], len(self.sizes)):
            raise DataError(
                f"EachHead: got labels {list(labels.shape)} for logits {list(lesson.student.shape)}; expected "
                f"{[*lesson.student.shape[:-1], len(self.sizes)]}: the class of each head."
            )
        each = zip(*(torch.split(x, list(self.sizes), dim=-1) for x in (lesson.student, lesson.teacher)), strict=True)
        found = [
            self.loss.terms(replace(lesson, student=s, teacher=t, labels=None if labels is None else labels[..., i]))
            for i, (s, t) in enumerate(each)
        ]
        return {name: summed([terms[name] for terms in found], len(found)) for name in found[0]}
