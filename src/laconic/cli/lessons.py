"""How a student is taught, as a recipe or the command's own options say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import nn

from laconic.cli.methods import BornAgain, Method, Setting
from laconic.cli.recipe import Cache, HeldBack
from laconic.cli.students import Sklearn, Tree
from laconic.core.task import Task
from laconic.distill import DistillationLoss, Knob, Match, Rule
from laconic.distill.augment import Augmentation
from laconic.prune import Pruned
from laconic.train import Training
from laconic.train.tracking import Trackers


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """All but teacher, student and data; and how the student was derived, if it was.

    Args:
        training: how long, with what.
        loss: on the answers; None: what the method takes.
        match: layers.
        augment: what is done to every batch.
        assistants: networks between teacher and student.
        cache: where the teacher's answers lie, and how.
        compiled: ask a compiled teacher where that is quicker.
        work: folder for the checkpoint.
        derived: how the student was made from the teacher, if it was.
        teachers: each by itself, where there are several.
        build: builds the student anew.
        method: another way of being taught.
        teacher_task: how the teacher is asked, where it is another way.
        parts: settings of several tasks, by name.
        freeze: parameters that rest.
        balance: terms that are divided by their size; True: all.
        rules: of the knobs in the loss and the matches.
        validation: what is held back.
        trackers: what writes the run down.
        other: what the student is made from where it is no network.
    """

    training: Training
    loss: DistillationLoss | None = None
    match: Literal["auto", "learned"] | tuple[Match, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    assistants: int = 0
    cache: Cache | None = None
    compiled: bool = False
    work: Path | None = None
    derived: Pruned | None = None
    teachers: tuple[nn.Module, ...] = ()
    build: Callable[[], nn.Module] | None = None
    method: Method | BornAgain | None = None
    teacher_task: Task | None = None
    parts: Mapping[str, Setting] = field(default_factory=dict)
    freeze: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    balance: bool | tuple[str, ...] = False
    rules: Mapping[Knob, Rule] = field(default_factory=dict)
    validation: HeldBack | None = None
    trackers: Trackers = ()
    other: Tree | Sklearn | None = None

    def setting(self, teacher: nn.Module, learner: nn.Module, task: Task) -> Setting:
        """Returns who is taught by whom."""
        return Setting(
            teachers=self.teachers or (teacher,),
            teacher=teacher,
            student=learner,
            build=self.build or (lambda: learner),
            task=task,
            loss=self.loss,
            match=self.match,
            teacher_task=self.teacher_task,
        )
