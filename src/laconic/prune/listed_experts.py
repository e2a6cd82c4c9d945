"""Experts that are members of a list: they leave it, and the router loses their rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from laconic.core.apply import apply
from laconic.core.edit import Cut, Swap
from laconic.core.plan import Plan
from laconic.core.spec import Members
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.expression import Atom
from laconic.graph.axes.result import AxisSlice
from laconic.graph.operators import arguments, name_of
from laconic.graph.oracle import cut_error
from laconic.prune.agreement import agreement
from laconic.prune.smaller import Smaller, tried


class ListedExperts(NamedTuple):
    """A mixture whose experts are members of an `nn.ModuleList`.

    Args:
        path: of the list.
        rows: what the router has for each of them; the code names its indices, so it is no axis of the graph.
    """

    path: str
    rows: Axis

    def among(self, names: Collection[str]) -> tuple[int, ...]:
        """Returns the positions of the experts that are named by their paths, ascending."""
        return tuple(i for i in range(self.rows.size) if f"{self.path}.{i}" in names)


def listed_experts(model: nn.Module, axes: Axes) -> tuple[ListedExperts, ...]:
    """Finds mixtures: a choice of the largest over rows of parameters, with a list of as many modules beside them.

    Args:
        model: the original.
        axes: its analysis.
    """
    found: dict[str, ListedExperts] = {}
    lists = {path: len(module) for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    for atom, count in _choices(axes):
        slices = tuple(
            AxisSlice(name, d, expr)
            for name, dims in axes.resolved.tensors.items()
            for d, expr in enumerate(dims)
            if expr is atom
        )
        beside = [path for path, size in lists.items() if size == atom.size and _holds(path.rpartition(".")[0], slices)]
        if slices and len(beside) == 1:
            name = f"{slices[0].tensor}[{slices[0].dim}]"
            rows = Axis(name, atom.size, "experts", slices, (), atom, count)
            found[beside[0]] = ListedExperts(beside[0], rows)
    return tuple(found.values())


def without_experts(
    model: nn.Module,
    axes: Axes,
    gone: Mapping[ListedExperts, Sequence[int]],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Smaller | None:
    """Returns the user's own module without some experts, or None where its code does not do without them.

    The proof: the original whose router can never choose them, as if their logits were minus infinity.

    Args:
        model: the original; left untouched.
        axes: its analysis.
        gone: positions of the experts that go, of each mixture.
        args: positional inputs that the proof runs on.
        kwargs: named inputs.

    Guarantees:
        At least as many experts stay as each token is given.
    """
    kept = {mixture: [i for i in range(mixture.rows.size) if i not in away] for mixture, away in gone.items()}
    if any(len(left) < mixture.rows.least for mixture, left in kept.items()):
        return None
    keep = {mixture.rows: torch.tensor(left) for mixture, left in kept.items()}
    for words in (("expert", "out_features"), ("",), ("out_features",)):
        edits: list[Cut | Swap] = []
        for mixture, left in kept.items():
            slices = axes.slices({mixture.rows: keep[mixture.rows]})
            attributes = tuple(
                (path, name, len(left)) for path, name in _counts(model, mixture) if any(word in name for word in words)
            )
            edits.append(Cut(axis=mixture.rows.name, slices=slices, attributes=attributes))
            edits.append(Swap(mixture.path, Members(tuple(left))))
        plan = Plan.of(edits)
        own = apply(model, plan)
        error, _ = tried(own, lambda m: cut_error(axes, keep, m, args, kwargs), "at the new sizes")
        if error <= agreement(model, 0.0):
            return Smaller(own, plan, "module", "", error, tuple(_notes(gone)))
    return None


def _choices(axes: Axes) -> Iterator[tuple[Atom, int]]:
    """Yields what the largest are chosen from, and how many."""
    for node in axes.graph.nodes:
        if name_of(node) == "topk":
            given = arguments(node)
            dims: Any = axes.resolved.dims.get(given["self"], ())
            if dims and isinstance(given["k"], int) and isinstance(dims[given["dim"]], Atom):
                yield dims[given["dim"]], given["k"]


def _holds(path: str, slices: Sequence[AxisSlice]) -> bool:
    return all(not path or part.tensor.startswith(f"{path}.") for part in slices)


def _counts(model: nn.Module, mixture: ListedExperts) -> Iterator[tuple[str, str]]:
    """Yields the attributes around a list, not inside it, that are as large as it is long."""
    around = mixture.path.rpartition(".")[0]
    for path, module in model.get_submodule(around).named_modules(prefix=around):
        if not f"{path}.".startswith(f"{mixture.path}."):
            yield from (
                (path, name)
                for name, value in vars(module).items()
                if type(value) is int and value == mixture.rows.size
            )


def _notes(gone: Mapping[ListedExperts, Sequence[int]]) -> Iterator[str]:
    for mixture, away in gone.items():
        named = ", ".join(map(str, away))
        yield (
            f"{mixture.path}: without {named}, those after them are counted anew; the router has no rows for them and "
            "gives what they had to the others."
        )
