"""A distillation written down: YAML with the names of the Python classes."""

from __future__ import annotations

import difflib
import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from laconic.core.errors import UsageError
from laconic.core.files import read_bytes
from laconic.distill import (
    ANSWERS,
    FEATURES,
    ConfidenceTemperature,
    DistillationLoss,
    FocalTemperature,
    Labels,
    Match,
    ProbabilityShift,
    Ramp,
    Sum,
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
class Recipe:
    """All that `laconic distill` needs.

    Args:
        teacher: `module:function` that builds the teacher.
        teacher_weights: its checkpoint.
        student: `module:function`, or how it is derived from the teacher.
        student_weights: its checkpoint, if it does not start anew.
        data: `module:function` or a folder of arrays.
        metric: `accuracy` or `mse`.
        batch_size: for a folder of arrays.
        loss: on the answers; several are added up.
        match: layers, or `auto`.
        augment: what is done to every batch.
        training: how long, and with what.
        assistants: how many networks stand between teacher and student.
        cache: folder for the teacher's answers.
        out: where the student's weights go; for a derived student a folder of that name without its suffix.
        work: folder for the checkpoint.
    """

    teacher: str
    student: str | Derive
    data: str
    teacher_weights: str | None = None
    student_weights: str | None = None
    metric: str | None = None
    batch_size: int = 64
    loss: DistillationLoss | None = None
    match: Literal["auto"] | tuple[Match, ...] = ()
    augment: tuple[Augmentation, ...] = ()
    training: Training = field(default_factory=lambda: Training(epochs=10))
    assistants: int = 0
    cache: str | None = None
    out: str = "student.safetensors"
    work: str | None = None


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
    return build(Recipe, given, str(path))


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
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]  # A dataclass, as all of them are.
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


def value_of(hint: Any, given: object, where: str) -> Any:
    """Returns a value as an argument wants it."""
    hints = _choices(hint)
    if str in hints and isinstance(given, str):
        return given
    if own := next((h for h in hints if h in (Training, Match, Derive)), None):
        return build(own, given, where)
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
