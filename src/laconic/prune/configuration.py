"""The settings that a model was built from (a Hugging Face config, or one like it), brought in line with a cut."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from itertools import product as iterproduct
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from laconic.core.edit import Cut
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.expression import LARGEST_REAL, Atom, Expr, Prod, Sum, kept_size, product
from laconic.graph.quiet import quietly

Setting = int | tuple[int | str, ...] | None
MOST = 60
"""Models that are built on the meta device until the search gives up."""
MOST_LISTS = 16
"""Ways in which a list of settings may change that are tried."""
UNSET = ("inner", "dim", "size", "width", "hidden")
"""A setting that is None and has one of these in its name stands for a size that follows from others."""
PER_LAYER = ("layer", "block")
"""A list with one of these in its name, and as many entries as there are layers, says something of each."""


def described(model: nn.Module, axes: Axes, keep: Mapping[Axis, Tensor]) -> Cut | str:
    """Returns an edit that sets the config of a cut model so that its class, built from it, has the cut shapes.

    A setting may become what a dimension of its size has become. Which do is found by building the class from changed
    configs on the meta device, and comparing every shape.

    Args:
        model: the cut model; has a `config` with `to_dict`, and a class that is built from one alone.
        axes: the analysis of the original.
        keep: the kept indices of each axis that was cut.

    Returns:
        The edit, or why there is none; empty if none is needed.
    """
    search = _Search(model, _shapes(model))
    found = search.best(_options(model.config, _new_sizes(axes, {a.atom: len(kept) for a, kept in keep.items()})))
    if left := search.misfits(found):
        name = min(left if left != search.FAILS else search.misfits({}))
        return f"no settings of it give the shape of {name}"
    if not found:
        return ""
    return _edit(found)


def counted(model: nn.Module, lists: Sequence[tuple[tuple[int, ...], int]]) -> Iterator[Cut]:
    """Yields edits of the config after which its class has the shapes of a model whose lists of layers are shorter.

    Settings with an entry for every layer, such as `layer_types`, keep those of the layers that stay; the last edit
    leaves them as they are. Nothing is yielded where no settings give the shapes.

    Args:
        model: the shorter model; its config is still that of the original.
        lists: positions that stay in a list of modules, and how many there were.
    """
    sizes: dict[int, list[int]] = {}
    for kept, before in lists:
        sizes.setdefault(before, []).append(len(kept))
    search = _Search(model, _shapes(model))
    found = search.best(_options(model.config, sizes))
    if search.misfits(found):
        return
    listed: dict[str, list[Setting]] = {}
    for path, value in _entries(model.config):
        ways = [kept for kept, before in lists if isinstance(value, list | tuple) and len(value) == before]
        if ways and any(part in path for part in PER_LAYER) and path not in found:
            listed[path] = [tuple(value[place] for place in kept) for kept in ways]
    for choice in islice(iterproduct(*listed.values()), MOST_LISTS):
        yield _edit({**found, **dict(zip(listed, choice, strict=True))})
    if listed:
        yield _edit(found)


def describable(model: nn.Module, axes: Axes, together: Sequence[Axis]) -> bool:
    """Returns whether a config can describe a model in which some axes are cut to the same size.

    The width of heads is left out: positions and scales are computed from it when a model is built.

    Args:
        model: the original, with a config.
        axes: its analysis.
        together: axes of one size.
    """
    sizes = {axis.atom: max(1, axis.size // 2) for axis in together}
    names = {alias: name for name, aliases in axes.graph.aliases.items() for alias in aliases}
    wanted = {
        name: tuple(kept_size(expr, sizes) for expr in axes.resolved.tensors[names[name]])
        if names.get(name) in axes.resolved.tensors
        else shape
        for name, shape in _shapes(model).items()
    }
    search = _Search(model, wanted)
    return "head width" not in {axis.kind for axis in together} and not search.misfits(
        search.best(_options(model.config, _new_sizes(axes, sizes)))
    )


def has_config(model: nn.Module) -> bool:
    """Whether a model carries what it was built from."""
    return callable(getattr(getattr(model, "config", None), "to_dict", None))


def rebuilt(model: nn.Module) -> nn.Module | None:
    """Returns a model of the same class, built from the config and filled with the state, or None if that fails."""
    kind: Any = type(model)
    first = next(model.parameters())
    try:
        with quietly(), torch.random.fork_rng(devices=[]):
            twin: nn.Module = kind(copy.deepcopy(model.config)).to(first.device, first.dtype)
            twin.load_state_dict(model.state_dict())
    except Exception:  # The user's class, built from settings that it may not have been meant for.
        return None
    return twin.eval()


@dataclass
class _Search:
    """Builds a model's class from changed configs and compares shapes; each config once, and at most `MOST` of them."""

    model: nn.Module
    wanted: dict[str, tuple[int, ...]]
    known: dict[tuple[tuple[str, Setting], ...], frozenset[str]] = field(default_factory=dict)
    FAILS: ClassVar[frozenset[str]] = frozenset({""})

    def misfits(self, changes: Mapping[str, Setting]) -> frozenset[str]:
        """Returns the names of tensors that have another shape under changed settings; `FAILS` if none can be built."""
        key = tuple(sorted(changes.items()))
        if key not in self.known:
            self.known[key] = self._built(changes)
        return self.known[key]

    def best(self, options: Mapping[str, list[Setting]]) -> dict[str, Setting]:
        """Goes from all that may change, and from nothing, to fewer misfits by one or two settings at a time."""
        starts: list[dict[str, Setting]] = [{name: found[0] for name, found in options.items()}, {}]
        ends = [self._descended(start, options) for start in starts]
        return self._least(min(ends, key=self._distance))

    def _least(self, found: dict[str, Setting]) -> dict[str, Setting]:
        """Leaves out what makes no difference: a number that is the size of something by chance."""
        for name in list(found):
            without = {other: value for other, value in found.items() if other != name}
            if self._distance(without) <= self._distance(found):
                found = without
        return found

    def _descended(self, found: dict[str, Setting], options: Mapping[str, list[Setting]]) -> dict[str, Setting]:
        while self._distance(found) and len(self.known) < MOST:
            tried = islice(_neighbours(found, options), MOST - len(self.known))
            better = next((one for one in tried if self._distance(one) < self._distance(found)), None)
            if better is None:
                return found
            found = better
        return found

    def _distance(self, changes: Mapping[str, Setting]) -> int:
        misfits = self.misfits(changes)
        return 2 * len(self.wanted) if misfits == self.FAILS else len(misfits)

    def _built(self, changes: Mapping[str, Setting]) -> frozenset[str]:
        config, kind = copy.deepcopy(self.model.config), type(self.model)
        try:
            for path, value in changes.items():
                _set(config, path, value)
            with quietly(), torch.random.fork_rng(devices=[]), torch.device("meta"):
                shapes = _shapes(kind(config))
        except Exception:  # A class may refuse settings in any way that it likes.
            return self.FAILS
        names = self.wanted.keys() | shapes.keys()
        return frozenset(name for name in names if self.wanted.get(name) != shapes.get(name))


def _edit(settings: Mapping[str, Setting]) -> Cut:
    return Cut(axis="config", slices=(), attributes=tuple(("", f"config.{k}", v) for k, v in settings.items() if v))


def _neighbours(found: Mapping[str, Setting], options: Mapping[str, list[Setting]]) -> Iterator[dict[str, Setting]]:
    """Yields what is one setting away, then what is two away."""
    for count in (1, 2):
        for names in combinations(options, count):
            yield from _changed(dict(found), names, options)


def _changed(
    found: dict[str, Setting], names: tuple[str, ...], options: Mapping[str, list[Setting]]
) -> Iterator[dict[str, Setting]]:
    if not names:
        yield found
        return
    name, *rest = names
    kept = {other: value for other, value in found.items() if other != name}
    for choice in ([kept] if name in found else []) + [
        {**kept, name: v} for v in options[name] if found.get(name) != v
    ]:
        yield from _changed(choice, tuple(rest), options)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _new_sizes(axes: Axes, left: Mapping[Atom, int]) -> dict[int, list[int]]:
    """Returns size -> the smaller sizes that dimensions of it, or parts of dimensions, have become."""
    found: dict[int, list[int]] = {}
    for dims in axes.resolved.tensors.values():
        for expr in _parts(dims):
            if expr.size <= LARGEST_REAL and (size := kept_size(expr, left)) != expr.size:
                found.setdefault(expr.size, []).append(size)
    return {size: list(dict.fromkeys(new)) for size, new in found.items()}


def _parts(exprs: tuple[Expr, ...]) -> Iterator[Expr]:
    for expr in exprs:
        yield expr
        if isinstance(expr, Sum):
            yield from _parts(expr.parts)
        elif isinstance(expr, Prod):
            count = len(expr.factors)
            yield from (product(*expr.factors[i:j]) for i in range(count) for j in range(i + 1, count + 1))


def _options(config: Any, sizes: Mapping[int, list[int]]) -> dict[str, list[Setting]]:
    """Returns path of a setting -> what it may become; those that are None come first, and are the first to go back."""
    found: dict[str, list[Setting]] = {}
    unset: dict[str, list[Setting]] = {}
    for path, value in _entries(config):
        if type(value) is int and value in sizes:
            found[path] = list(sizes[value])
        elif isinstance(value, list | tuple) and any(type(v) is int and v in sizes for v in value):
            entries = [[*sizes[v], v] if type(v) is int and v in sizes else [v] for v in value]
            found[path] = [one for one in islice(iterproduct(*entries), MOST_LISTS) if one != tuple(value)]
        elif value is None and any(part in path.rpartition(".")[2] for part in UNSET):
            unset[path] = [new for several in sizes.values() for new in several]
    return unset | found


def _entries(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the settings that a config keeps as they are, and those of configs inside it."""
    for name, value in config.to_dict().items():
        held = getattr(config, name, None)
        if callable(getattr(held, "to_dict", None)):
            yield from _entries(held, f"{prefix}{name}.")
        elif hasattr(config, name) and (held == value or isinstance(value, list | tuple)):
            yield prefix + name, value


def _set(config: Any, path: str, value: Setting) -> None:
    *inner, name = path.split(".")
    for part in inner:
        config = getattr(config, part)
    setattr(config, name, list(value) if isinstance(value, tuple) else value)
