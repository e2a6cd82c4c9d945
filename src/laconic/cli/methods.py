"""Ways of being taught that a recipe can name besides the plain one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, final

from torch import nn

from laconic.cli.load import load_model
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import Decoding, DistillationLoss, Labels, Match, dictation, pair_layers
from laconic.train import (
    Inversion,
    Objective,
    Training,
    born_again,
    default_loss,
    distillation,
    in_turn,
    mean_teacher,
    multitask,
    mutual,
    on_policy,
    own_teacher,
    remembered_images,
    tree_growth,
    without_teacher,
)
from laconic.train.on_policy import Author
from laconic.train.tree_growth import TreeLoss


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Who is to be taught by whom, and what about.

    Args:
        teachers: at least one.
        teacher: all of them as one.
        student: as it is built.
        build: builds it anew.
        task: the data.
        loss: on the answers; None: what the method takes.
        match: layers.
        teacher_task: how the teacher is asked, where it is another way.
    """

    teachers: tuple[nn.Module, ...]
    teacher: nn.Module
    student: nn.Module
    build: Callable[[], nn.Module]
    task: Task
    loss: DistillationLoss | None = None
    match: tuple[Match, ...] | str = ()
    teacher_task: Task | None = None

    @property
    def compared(self) -> DistillationLoss:
        """The loss, or that of `laconic.distill`."""
        return self.loss or default_loss(self.task)

    def objective(self, teacher: nn.Module | None = None, task: Task | None = None) -> Objective:
        """Returns the plain objective, or that of another teacher or other data."""
        taught_by, about = self.teacher if teacher is None else teacher, task or self.task
        match = self.match
        if isinstance(match, str):
            learned = match == "learned"
            match = pair_layers(taught_by, self.student, about, teacher_task=self.teacher_task, learned=learned)
        return distillation(taught_by, about, self.compared, match, teacher_task=self.teacher_task)


class Method(Protocol):
    """A way of being taught."""

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data and what is minimised on it."""


@final
@dataclass(frozen=True, kw_only=True)
class Mutual:
    """Peers that learn from each other and from no teacher.

    Args:
        peers: `module:function` of each.
    """

    peers: tuple[str, ...]

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `mutual`."""
        _no_match(setting, "Mutual")
        return setting.task, mutual([load_model(peer, None) for peer in self.peers], setting.task, setting.compared)


@final
@dataclass(frozen=True, kw_only=True)
class MeanTeacher:
    """The student's own running mean as the teacher."""

    decay: float = 0.999

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `mean_teacher`."""
        _no_match(setting, "MeanTeacher")
        return setting.task, mean_teacher(setting.task, setting.compared, decay=self.decay)


@final
@dataclass(frozen=True, kw_only=True)
class OwnTeacher:
    """Exits after early layers learn from the network's own answer."""

    layers: tuple[str, ...]

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `own_teacher`."""
        _no_match(setting, "OwnTeacher")
        return setting.task, own_teacher(setting.task, self.layers, loss=setting.loss)


@final
@dataclass(frozen=True, kw_only=True)
class WithoutTeacher:
    """A loss that makes up its teacher, such as `VirtualTeacher`."""

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `without_teacher`."""
        _no_match(setting, "WithoutTeacher")
        return setting.task, without_teacher(setting.task, setting.compared)


@final
@dataclass(frozen=True, kw_only=True)
class InTurn:
    """Several teachers, one after the other.

    Args:
        begins: share of the run at which each begins, the first at 0.
    """

    begins: tuple[float, ...]

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `in_turn`."""
        if len(self.begins) != len(setting.teachers):
            raise UsageError(
                f"recipe: method: InTurn: got {len(self.begins)} begins for {len(setting.teachers)} teachers; expected "
                "one for each. Write the teachers as a list."
            )
        each = zip(self.begins, setting.teachers, strict=True)
        return setting.task, in_turn({begin: setting.objective(teacher) for begin, teacher in each})


@final
@dataclass(frozen=True, kw_only=True)
class OnPolicy:
    """The student's own sequences, judged by the teacher."""

    decoding: Decoding
    share: float = 1.0
    author: Author = "student"

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `on_policy`."""
        _no_match(setting, "OnPolicy")
        return setting.task, on_policy(
            setting.teacher, setting.task, self.decoding, loss=setting.loss, share=self.share, author=self.author
        )


@final
@dataclass(frozen=True, kw_only=True)
class Dictation:
    """Sequences that the teacher writes once; the loss is on labels unless the recipe names one."""

    decoding: Decoding
    samples: int | None = None

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns what the teacher has written, and the plain objective on it."""
        written = dictation(setting.teacher, setting.task, self.decoding, samples=self.samples)
        task = replace(setting.task, train=written)
        return task, replace(setting, loss=setting.loss or Labels()).objective(task=task)


@final
@dataclass(frozen=True, kw_only=True)
class Remembered:
    """No data: images that the teacher's batch normalisation remembers.

    Args:
        shape: of an image, such as `[3, 32, 32]`.
        classes: of the teacher.
        batches: how many are made.
        batch_size: of each.
        inversion: how.
    """

    shape: tuple[int, ...]
    classes: int
    batches: int = 20
    batch_size: int = 128
    inversion: Inversion = field(default_factory=Inversion)

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the images, and the plain objective on them."""
        images = remembered_images(
            setting.teacher, setting.task, shape=self.shape, classes=self.classes, batches=self.batches,
            batch_size=self.batch_size, inversion=self.inversion,
        )  # fmt: skip
        task = replace(setting.task, train=images)
        return task, setting.objective(task=task)


@final
@dataclass(frozen=True, kw_only=True)
class TreeGrowth:
    """A `SoftTree` grows on the teacher's answers, as by `tree_growth`."""

    loss: TreeLoss = "mixture"
    temperature: float = 1.0
    hard_weight: float = 0.0
    balance: float = 0.1
    decay: float = 0.9

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the data as it is, and `tree_growth`."""
        _no_match(setting, "TreeGrowth")
        if setting.loss is not None:
            raise UsageError("recipe: got loss beside method: TreeGrowth; expected its own. Leave one out.")
        return setting.task, tree_growth(setting.task, teacher=setting.teacher, **vars(self))


@final
@dataclass(frozen=True, kw_only=True)
class BornAgain:
    """Students one after the other, each taught by the one before."""

    generations: int = 3

    def taught(self, setting: Setting, training: Training, work: Path | None) -> nn.Module:
        """Returns the last of them."""
        _no_match(setting, "BornAgain")
        return born_again(
            setting.teacher, setting.build, setting.task, generations=self.generations, loss=setting.compared,
            training=training, work=work,
        ).model  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SeveralTasks:
    """Several tasks at once; a recipe says them in `tasks`."""

    parts: Mapping[str, Setting]
    tau: float

    def prepare(self, setting: Setting) -> tuple[Task, Objective]:
        """Returns the mixture of their data, and `multitask`."""
        # What is held back to validate on is of the first task.
        tasks = {name: part.task for name, part in self.parts.items()} | {next(iter(self.parts)): setting.task}
        return multitask(tasks, {name: part.objective() for name, part in self.parts.items()}, tau=self.tau)


METHODS: tuple[type, ...] = (
    Mutual,
    MeanTeacher,
    OwnTeacher,
    WithoutTeacher,
    InTurn,
    OnPolicy,
    Dictation,
    Remembered,
    TreeGrowth,
    BornAgain,
)


def _no_match(setting: Setting, method: str) -> None:
    if setting.match:
        raise UsageError(f"recipe: got match beside method: {method}; expected no layers to be matched. Leave one out.")
