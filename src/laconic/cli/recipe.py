"""A distillation written down: YAML with the names of the Python classes."""

from __future__ import annotations

import difflib
import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from laconic.cli.methods import METHODS, BornAgain, Method
from laconic.core.errors import UsageError
from laconic.core.files import read_bytes
from laconic.distill import (
    ANSWERS,
    FEATURES,
    Beams,
    BoundedRegression,
    ByGap,
    ClassConsistency,
    ConfidenceTemperature,
    DistillationLoss,
    EachHead,
    EachTeacher,
    FocalTemperature,
    Labels,
    Match,
    NoisyTeacher,
    OnPlateau,
    ProbabilityShift,
    Ramp,
    Sampled,
    Sum,
    VirtualTeacher,
    Weighted,
)
from laconic.distill import augment as augmentation
from laconic.distill.augment import Augmentation
from laconic.distill.student import Layers
from laconic.train import SGD, AdamW, Constant, Cosine, Linear, Training

Built = TypeVar("Built")
KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        *(*ANSWERS, Labels, Sum, Weighted, ProbabilityShift, *FEATURES, Ramp, FocalTemperature, ConfidenceTemperature),
        *(augmentation.Mixup, augmentation.CutMix, augmentation.MaskTokens, augmentation.DeleteTokens),
        *(augmentation.SampleSpan, augmentation.SwapNear, augmentation.SwapHalves),
        *(AdamW, SGD, Constant, Linear, Cosine),
        *(
            BoundedRegression,
            EachTeacher,
            EachHead,
            NoisyTeacher,
            VirtualTeacher,
            ClassConsistency,
            OnPlateau,
            ByGap,
            Beams,
            Sampled,
            *METHODS,
        ),
    )
}
"""What `{Name: {argument: value}}` may name."""


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
        student: `module:function`, or how it is derived from the teacher.
        student_weights: its checkpoint, if it does not start anew.
        data: `module:function` or a folder of arrays.
        teacher_inputs: what the teacher calls an input -> what the batch calls it, where it reads other ones.
        student_inputs: the batch's inputs that the student gets; none named: all.
        metric: `accuracy` or `mse`.
        batch_size: for a folder of arrays.
        loss: on the answers; several are added up.
        match: layers, `auto` or `learned`.
        method: another way of being taught, such as `MeanTeacher`.
        tasks: several, each with teacher and data, in place of `teacher` and `data`.
        tau: exponent of the tasks' sizes by which they are drawn.
        freeze: parameters that rest, by pattern: until which share of the run, or from when and until when.
        validation: what is held back of the training data; the student ends with the weights that scored best on it.
        search: numbers of the recipe that are looked for first.
        trackers: `tensorboard`, `wandb`, `mlflow`, into `work`.
        augment: what is done to every batch.
        training: how long, and with what.
        assistants: how many networks stand between teacher and student.
        cache: folder for the teacher's answers.
        written: what it was made of.
        out: where the student's weights go; for a derived student a folder of that name without its suffix.
        work: folder for the checkpoint.
    """

    student: str | Derive
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
    validation: HeldBack | None = None
    search: Search | None = None
    trackers: tuple[str, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    training: Training = field(default_factory=lambda: Training(epochs=10))
    assistants: int = 0
    cache: str | None = None
    out: str = "student.safetensors"
    work: str | None = None
    written: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ArtifactError: the file cannot be read.
        UsageError: it is no YAML, a key is wrong (the nearest right one is named), twice or missing, or a value is
            outside its domain.
    """
    try:
        given = yaml.load(read_bytes(path), Loader=_Strict)  # A safe loader.
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is no YAML: {' '.join(str(error).split())}.") from error
    return recipe_of(given, str(path))


def recipe_of(given: object, where: str) -> Recipe:
    """Returns the recipe that plain values describe.

    Raises:
        UsageError: a key or value does not fit; `where` says the place.
    """
    recipe = build(Recipe, given, where)
    for name in ("teacher", "data"):
        if recipe.tasks is None and not getattr(recipe, name):
            raise UsageError(f"{where}: the key {name!r} is missing; Recipe cannot do without it.")
        if recipe.tasks is not None and getattr(recipe, name):
            raise UsageError(f"{where}: got {name} beside tasks; expected it in each of the tasks. Write it there.")
    object.__setattr__(recipe, "written", given)
    return recipe


class _Strict(yaml.SafeLoader):  # type: ignore[misc]  # The package ships no types.
    """Builds plain values only, and refuses a key that is there twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Returns a mapping of distinct keys."""
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            found[key] = self.construct_object(value_node, deep=True)
        return found


def build(kind: type[Built], given: object, where: str) -> Built:
    """Returns a dataclass made of a mapping of its arguments.

    Raises:
        UsageError: a key or value does not fit; `where` says the place.
    """
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}: got {given!r}; expected the arguments of {kind.__name__} as `name: value`.")
    known = {f.name: f for f in fields(kind) if f.init}  # type: ignore[arg-type]  # A dataclass, as all of them are.
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}."
            raise UsageError(f"{where}: got the key {key!r}; expected an argument of {kind.__name__}. {hint}")
    hints = get_type_hints(kind)
    values = {key: value_of(hints[key], value, f"{where}: {key}") for key, value in given.items()}
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise UsageError(f"{where}: the key {name!r} is missing; {kind.__name__} cannot do without it.")
    return kind(**values)


OWN = (Training, Match, Derive, Together, HeldBack, Between, Search, Part)
"""What is written as its arguments alone, since nothing else can stand there."""


def value_of(hint: Any, given: object, where: str) -> Any:
    """Returns a value as an argument wants it."""
    hints = _choices(hint)
    if str in hints and isinstance(given, str):
        return given
    if own := next((h for h in hints if h in OWN), None):
        return build(own, given, where)
    if isinstance(given, Mapping) and (inside := next((h for h in hints if get_origin(h) is Mapping), None)):
        return {str(key): value_of(get_args(inside)[1], value, f"{where}: {key}") for key, value in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return _several(hints, given, where)
    if isinstance(given, Mapping) or (isinstance(given, str) and given in KINDS):
        found = _named(given, where)
        wraps = next((h for h in hints if get_origin(h) is tuple), None)
        return (found,) if wraps else found
    return _plain(hints, given, where)


def _several(hints: Sequence[Any], given: Sequence[object], where: str) -> Any:
    inside = next((get_args(h)[0] for h in hints if get_origin(h) is tuple), Any)
    found = tuple(value_of(inside, value, f"{where} {i + 1}") for i, value in enumerate(given))
    if DistillationLoss in hints:
        return Sum(losses=found)
    return found


def _named(given: object, where: str) -> Any:
    """Builds `Name` or `{Name: {argument: value}}`."""
    pair = {given: None} if isinstance(given, str) else given
    if not isinstance(pair, Mapping) or len(pair) != 1:
        raise UsageError(f"{where}: got {given!r}; expected one class with its arguments, as {{SoftLabels: {{}}}}.")
    ((name, arguments),) = pair.items()
    if name not in KINDS:
        near = difflib.get_close_matches(str(name), KINDS, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(KINDS)}."
        raise UsageError(f"{where}: got {name!r}; expected the name of a class. {hint}")
    return build(KINDS[name], arguments, f"{where}: {name}")


def _plain(hints: Sequence[Any], given: object, where: str) -> Any:
    """Returns a number, a word or a truth value as it is, if it is of a kind that is wanted."""
    if float in hints and isinstance(given, int | str) and not isinstance(given, bool):
        try:
            return float(given)  # YAML takes 1e-3, without a point, for text.
        except ValueError:
            pass
    words = {word for h in hints if get_origin(h) is Literal for word in get_args(h)}
    fits = [h for h in hints if h in (int, float, bool, str, types.NoneType) and type(given) is h]
    if fits or given in words:
        return given
    said = [h.__name__ for h in hints if isinstance(h, type)] + [repr(word) for word in words]
    raise UsageError(f"{where}: got {given!r}; expected {' or '.join(said) or 'a class with its arguments'}.")


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
