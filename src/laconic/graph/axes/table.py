"""Axes as a table for people: what can be cut, and what cannot and why."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

from laconic.graph.axes.expression import kept_size
from laconic.graph.axes.names import shortened
from laconic.graph.axes.reasons import reason

if TYPE_CHECKING:
    from laconic.graph.axes.result import Axes, Axis

WIDTH = 120
INDENT = " " * 4
HEADER = ("axis", "size", "kind", "each")


def table(axes: Axes) -> str:
    """Returns a summary line, the axes, and what is frozen by reason.

    `each` is the number of parameters that go with one index. Below an axis are its slices, and what computes something
    over it, such as the mean of a normalisation.
    """
    return "\n".join([_summary(axes), *_cuttable(axes), *_frozen(axes)])


def _summary(axes: Axes) -> str:
    parameters = axes.graph.parameters
    touched = {part.tensor for axis in axes for part in axis.slices} & parameters.keys()
    count = "1 axis" if len(axes) == 1 else f"{len(axes)} axes"
    return f"{axes.graph.name}: {count} can be cut, in {len(touched)} of {len(parameters)} parameters."


def _cuttable(axes: Axes) -> Iterator[str]:
    rows = [(axis.name, f"{axis.size:,}", axis.kind, f"{_each(axes, axis):,}") for axis in axes]
    if not rows:
        return
    header, *lines = _columns([HEADER, *rows], right=(1, 3))
    yield from ("", header)
    for axis, line in zip(axes, lines, strict=True):
        yield line
        yield from (INDENT + below for below in _wrapped(_described(axis), WIDTH - len(INDENT)))


def _described(axis: Axis) -> str:
    slices = ", ".join(shortened((part.tensor, part.dim) for part in axis.slices))
    modules: dict[str, list[str]] = {}
    for operator in axis.statistics:
        target, _, module = operator.partition(" in ")
        modules.setdefault(reason(target), []).append(module)
    return "\n".join([slices, *(f"computed over by {name}{_where(found)}" for name, found in modules.items())])


def _where(modules: Sequence[str]) -> str:
    named = [(module, 0) for module in modules if module]
    return f" in {', '.join(place.removesuffix('[0]') for place in shortened(named))}" if named else ""


def _each(axes: Axes, axis: Axis) -> int:
    """Returns how many parameters one index of an axis stands for."""
    one_less = {axis.atom: axis.size - 1}
    names = {part.tensor for part in axis.slices} & axes.graph.parameters.keys()
    shapes = [axes.resolved.tensors[name] for name in names]
    return sum(
        math.prod(expr.size for expr in dims) - math.prod(kept_size(expr, one_less) for expr in dims) for dims in shapes
    )


def frozen_by(axes: Axes) -> dict[str, list[str]]:
    """Returns reason -> dimensions of parameters and buffers that it freezes, as patterns."""
    reasons: dict[str, list[tuple[str, int]]] = {}
    for dim in axes.frozen:
        for why in dict.fromkeys(map(reason, dim.operators)):
            reasons.setdefault(why, []).append((dim.tensor, dim.dim))
    return {why: shortened(places) for why, places in reasons.items()}


def _frozen(axes: Axes) -> Iterator[str]:
    reasons = frozen_by(axes)
    if not reasons:
        return
    header, *lines = _columns([("frozen by", "dimensions"), *((why, "") for why in reasons)], right=())
    indent = max(map(len, (*reasons, "frozen by"))) + 2
    yield from ("", header)
    for line, places in zip(lines, reasons.values(), strict=True):
        first, *more = _wrapped(", ".join(places), WIDTH - indent)
        yield line.ljust(indent) + first
        yield from (" " * indent + below for below in more)


def _columns(rows: Sequence[tuple[str, ...]], right: Container[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        yield "  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in cells).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    """Breaks lines at spaces, after the commas of a word that is too long, and where the text does."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.append("")
        for word in re.findall(r"\S+\s*", paragraph):
            for piece in [word] if len(word.rstrip()) <= width else re.findall(r"[^,]+,?\s*", word):
                if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
                    lines.append(piece)
                else:
                    lines[-1] += piece
    return [line.rstrip() for line in lines]
