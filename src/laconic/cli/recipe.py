"""What a distillation that is written down may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from laconic.cli.methods import BornAgain, Method
from laconic.cli.students import Sklearn, Tree
from laconic.distill import DistillationLoss, Match
from laconic.distill.augment import Augmentation
from laconic.distill.student import Layers
from laconic.train import Training
from laconic.train.cache_form import Precision


@dataclass(frozen=True, kw_only=True)
class Derive:
    """A student made from the teacher, as by `laconic.student`."""

    width: float = 1.0
    depth: float = 1.0
    size: float | None = None
    layers: Layers = "measured"


@dataclass(frozen=True, kw_only=True)
class Together:
    """How several teachers are one: their weights, given or learned from labels, or a loss that weighs each sample."""

    weights: tuple[float, ...] | Literal["learned", "each sample"] | None = None
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """How much of the training data is kept to validate on, and what for, as in `laconic.train.Validation`."""

    share: float = 0.1
    every: int | None = None
    patience: int | None = None
    margin: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Between:
    """Where a number of the recipe is looked for, as in `laconic.select.space.Number`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which numbers of the recipe are looked for, by validation, before the run.

    Args:
        space: place in the recipe -> range; a place is the keys that lead there, such as
            `loss.SoftLabels.temperature`, and numbers from 1 in a list.
        trials: runs in all.
        storage: file or URL of the database; started again, the search goes on there.
    """

    space: Mapping[str, Between]
    trials: int = 20
    storage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where the teacher's answers lie, and how, as in `laconic.train.cached_teacher`."""

    folder: str
    top: int | None = None
    precision: Precision = "float16"
    encrypted: bool = False


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The tracker `JsonLines`."""

    path: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several tasks.

    Args:
        teacher: `module:function`; it is called on the task's inputs as they are.
        data: `module:function` that returns a `Task`; its `call` says how the student is asked.
        teacher_weights: its checkpoint.
        loss: on the answers.
        match: layers.
    """

    teacher: str
    data: str
    teacher_weights: str | None = None
    loss: DistillationLoss | None = None
    match: Literal["auto", "learned"] | tuple[Match, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that `laconic distill` needs.

    Args:
        teacher: `module:function` that builds the teacher; or several.
        teacher_weights: its checkpoint; or theirs.
        together: how several teachers are one.
        student: `module:function`, how it is derived from the teacher, a `SoftTree`, or an estimator of `Sklearn`.
        student_weights: its checkpoint, if it does not start anew.
        data: `module:function` or a folder of arrays.
        teacher_inputs: what the teacher calls an input -> what the batch calls it, where it reads other ones.
        student_inputs: the batch's inputs that the student gets; none named: all.
        metric: `accuracy`, `cross entropy` or `mse`.
        batch_size: for a folder of arrays.
        loss: on the answers; several are added up.
        match: layers, `auto` or `learned`.
        method: another way of being taught, such as `MeanTeacher`.
        tasks: several, each with teacher and data, in place of `teacher` and `data`.
        tau: exponent of the tasks' sizes by which they are drawn.
        freeze: parameters that rest, by pattern: until which share of the run, or from when and until when.
        balance: divide the terms of the loss by what they are before the first step: all, or those that are named.
        validation: what is held back of the training data; the student ends with the weights that scored best on it.
        search: numbers of the recipe that are looked for first.
        trackers: `tensorboard`, `wandb`, `mlflow`, into `work`; `JsonLines` into a file.
        augment: what is done to every batch; beside a cache it is `Repeated`.
        training: how long, and with what.
        assistants: how many networks stand between teacher and student.
        cache: folder for the teacher's answers, or what else there is to say of it.
        compiled: ask a compiled teacher where that is quicker.
        written: what it was made of.
        out: where the student's weights go; for a derived student a folder of that name without its suffix.
        work: folder for the checkpoint.
    """

    student: str | Derive | Tree | Sklearn
    teacher: str | tuple[str, ...] = ()
    data: str | None = None
    teacher_weights: str | tuple[str, ...] | None = None
    together: Together = field(default_factory=Together)
    student_weights: str | None = None
    teacher_inputs: Mapping[str, str] = field(default_factory=dict)
    student_inputs: tuple[str, ...] = ()
    metric: str | None = None
    batch_size: int = 64
    loss: DistillationLoss | None = None
    match: Literal["auto", "learned"] | tuple[Match, ...] = ()
    method: Method | BornAgain | None = None
    tasks: Mapping[str, Part] | None = None
    tau: float = 1.0
    freeze: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    balance: bool | tuple[str, ...] = False
    validation: HeldBack | None = None
    search: Search | None = None
    trackers: tuple[str | Lines, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    training: Training = field(default_factory=lambda: Training(epochs=10))
    assistants: int = 0
    cache: str | Cache | None = None
    compiled: bool = False
    out: str = "student.safetensors"
    work: str | None = None
    written: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
