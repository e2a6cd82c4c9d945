"""A student that is corrected where it goes wrong: on sequences that it writes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch, Task
from laconic.distill import Decoding, DistillationLoss, JensenShannon, continued, opening
from laconic.distill.answering import answering
from laconic.train.describe import describe
from laconic.train.imitation import School
from laconic.train.objective import Moment, Objective, unwrapped

Author = Literal["student", "teacher"]


def on_policy(
    teacher: nn.Module,
    task: Task,
    decoding: Decoding,
    *,
    loss: DistillationLoss | None = None,
    share: float = 1.0,
    author: Author = "student",
    teacher_task: Task | None = None,
) -> Objective:
    """Returns the objective of learning from a teacher on sequences that are written during training.

    At each step, with probability `share`, the batch's prompts are continued by the student as it is now (or by the
    teacher), and teacher and student are compared on every token that was written; otherwise on the batch as it is. No
    gradient flows through the writing.

    Args:
        teacher: left as it is.
        task: how both are called; prompts are what stands before the first label, see `dictation`.
        decoding: how the author goes on, usually `Sampled(length=...)`.
        loss: on their answers; None: `JensenShannon(beta=0.5, class_axis=-1)`. With a `hard_weight` what was
            written counts as the truth, which is meant for `author="teacher"` only.
        share: of the steps that are on such sequences, in [0, 1].
        author: `"student"` or `"teacher"`.
        teacher_task: how the teacher is called where it is another way.

    Raises:
        UsageError: an argument outside its domain.

    Reference:
        Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem, 2024, arXiv:2306.13649, algorithm 1.
    """
    if not 0 <= share <= 1:
        raise invalid("on_policy.share", share, "a share in [0, 1]")
    if author not in get_args(Author):
        raise invalid("on_policy.author", author, "'student' or 'teacher'")
    compared = loss or JensenShannon(class_axis=-1)
    school = School(teacher=teacher, task=task, teacher_task=teacher_task, aligned=compared.aligned)

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        if torch.rand(()) < share:
            writer = teacher if author == "teacher" else model
            batch = written(writer, batch, decoding, teacher_task or task if author == "teacher" else task)
        return compared.terms(school.lesson(model, batch, moment))

    said = f"on-policy distillation with {describe(compared)}, {describe(decoding)}, {share=}, {author=}"
    return Objective(terms=terms, name=said, teachers=(teacher,))


def written(model: nn.Module, batch: Batch, decoding: Decoding, task: Task) -> Batch:
    """Returns the batch's prompts and how a model, in eval mode meanwhile, goes on, with labels."""
    writer, prompt = unwrapped(model), opening(batch)
    with answering(writer):
        return continued(prompt, decoding(writer, prompt, task), decoding.end)
