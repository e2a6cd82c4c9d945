"""A recipe as text: YAML with the names of the Python classes."""

from __future__ import annotations

import difflib
import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from laconic.cli.methods import METHODS
from laconic.cli.recipe import Between, Cache, Derive, HeldBack, Lines, Part, Recipe, Search, Together
from laconic.cli.students import Sklearn, Tree
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
    Generated,
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
from laconic.train import SGD, AdamW, Constant, Cosine, Inversion, Linear, Repeated, Training

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
            Generated,
            Repeated,
            *METHODS,
        ),
    )
} | {"SoftTree": Tree, "Sklearn": Sklearn, "JsonLines": Lines}
"""What `{Name: {argument: value}}` may name."""


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


OWN = (Training, Match, Derive, Together, HeldBack, Between, Search, Part, Cache, Inversion)
"""What is written as its arguments alone, since nothing else can stand there."""


def value_of(hint: Any, given: object, where: str) -> Any:
    """Returns a value as an argument wants it."""
    hints = _choices(hint)
    if hint is Any or (str in hints and isinstance(given, str)):
        return given
    if not _names_a_class(hints, given) and (own := next((h for h in hints if h in OWN), None)):
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


def _names_a_class(hints: Sequence[Any], given: object) -> bool:
    """Whether a value is `{Name: {argument: value}}` where that may stand beside plain arguments."""
    inside = list(given.values()) if isinstance(given, Mapping) else []
    return len(inside) == 1 and isinstance(inside[0], Mapping) and any(h in KINDS.values() for h in hints)


def _several(hints: Sequence[Any], given: Sequence[object], where: str) -> Any:
    summed = DistillationLoss in hints
    inside = DistillationLoss if summed else next((get_args(h)[0] for h in hints if get_origin(h) is tuple), None)
    if inside is None:
        return _plain(hints, given, where)
    found = tuple(value_of(inside, value, f"{where} {i + 1}") for i, value in enumerate(given))
    return Sum(losses=found) if summed else found


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
    words = [word for h in hints if get_origin(h) is Literal for word in get_args(h)]
    fits = [h for h in hints if h in (int, float, bool, str, types.NoneType) and type(given) is h]
    if fits or given in words:
        return given
    said = [h.__name__ for h in hints if isinstance(h, type)] + [repr(word) for word in words]
    raise UsageError(f"{where}: got {given!r}; expected {' or '.join(said) or 'a class with its arguments'}.")


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
