"""Many names in few words: `layer.0.norm.weight` and `layer.1.norm.weight` are `layer.{0,1}.norm.weight`."""

from __future__ import annotations

import re
from collections.abc import Iterable

Parts = tuple[tuple[str, ...], ...]
"""A name's components, each with all that stand in its place."""


def shortened(places: Iterable[tuple[str, int]]) -> list[str]:
    """Returns `(tensor, dimension)` pairs as patterns in the shell's manner, in the order of their first members.

    Each name and dimension is in exactly one of the patterns.

    Example:
        >>> shortened([("0.weight", 0), ("0.bias", 0), ("1.weight", 0), ("1.bias", 0), ("1.weight", 1)])
        ['0.{weight,bias}[0]', '1.weight[0,1]', '1.bias[0]']
        >>> shortened([(f"layer.{i}.norm.weight", 0) for i in range(12)])
        ['layer.{0-11}.norm.weight[0]']
    """
    dims: dict[str, list[int]] = {}
    for tensor, dim in places:
        dims.setdefault(tensor, []).append(dim)
    groups: dict[tuple[int, ...], list[Parts]] = {}
    for tensor, found in dims.items():
        groups.setdefault(tuple(found), []).append(tuple((part,) for part in tensor.split(".")))
    order = list(dims)
    merged = [(parts, found) for found, names in groups.items() for parts in _merged(names)]
    merged.sort(key=lambda entry: order.index(".".join(part[0] for part in entry[0])))
    return [f"{_written(parts)}[{','.join(map(str, found))}]" for parts, found in merged]


def _merged(names: list[Parts]) -> list[Parts]:
    """Merges names that differ in one component: the last first, then numbers, then the others."""
    for length in {len(name) for name in names}:
        places = sorted(range(length), key=lambda at: (at != length - 1, not _numbered(names, length, at), -at))
        for at in places:
            names = _merged_at(names, length, at)
    return names


def _numbered(names: list[Parts], length: int, at: int) -> bool:
    return any(name[at][0].isdecimal() for name in names if len(name) == length)


def _merged_at(names: list[Parts], length: int, at: int) -> list[Parts]:
    found: dict[tuple[Parts, Parts], tuple[str, ...]] = {}
    for name in names:
        key = (name[:at], name[at + 1 :]) if len(name) == length else (name, ())
        own = name[at] if len(name) == length else ()
        found[key] = found.get(key, ()) + own
    return [(*before, own, *after) if own else before for (before, after), own in found.items()]


def _written(parts: Parts) -> str:
    return ".".join(_one(part) for part in parts)


def _one(choices: tuple[str, ...]) -> str:
    if len(choices) == 1:
        return choices[0]
    numbers = list(map(int, choices)) if all(re.fullmatch(r"\d+", choice) for choice in choices) else []
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{{{numbers[0]}-{numbers[-1]}}}"
    return f"{{{','.join(choices)}}}"
