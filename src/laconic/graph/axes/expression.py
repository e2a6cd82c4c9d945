"""What a tensor dimension is made of: atoms (index sets that can be cut), row-major products, concatenations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Atom:
    """An index set of its own; two atoms are the same only if they are the same object."""

    size: int


@dataclass(frozen=True)
class Prod:
    """Row-major product: 768 = 12 heads x 64. Build it with `product`."""

    factors: tuple[Expr, ...]

    @cached_property
    def size(self) -> int:
        """Number of indices."""
        return math.prod(factor.size for factor in self.factors)


@dataclass(frozen=True)
class Sum:
    """Concatenation. Build it with `concatenation`."""

    parts: tuple[Expr, ...]

    @cached_property
    def size(self) -> int:
        """Number of indices."""
        return sum(part.size for part in self.parts)


Expr = Atom | Prod | Sum
ONE = Prod(())
"""A dimension of size one: the empty product."""
BATCH_STAND_INS = (1_000_000_007, 1_000_000_009, 1_000_000_021, 1_000_000_033, 1_000_000_087, 1_000_000_093)
"""Sizes that symbolic ones are given: large primes, so that no boundary of another size falls on them by chance."""
LARGEST_REAL = 10_000_000
"""A dimension beyond this depends on a stand-in."""


def product(*factors: Expr) -> Expr:
    """Returns the row-major product: nested products become one, factors of size one vanish.

    Example:
        >>> product(ONE, Atom(3), product(Atom(2), Atom(4))).size
        24
    """
    flat = [inner for factor in factors for inner in (factor.factors if isinstance(factor, Prod) else (factor,))]
    kept = tuple(factor for factor in flat if factor.size != 1 or factor.size == 0)
    return kept[0] if len(kept) == 1 else Prod(kept)


def concatenation(*parts: Expr) -> Expr:
    """Returns the concatenation: nested ones become one, empty parts vanish.

    Example:
        >>> concatenation(Atom(3), concatenation(Atom(2), ONE)).size
        6
    """
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Sum) else (part,))]
    kept = tuple(part for part in flat if part.size != 0)
    return kept[0] if len(kept) == 1 else Sum(kept)


def atoms_in(expr: Expr) -> Iterator[Atom]:
    """Yields the atoms of an expression from left to right, repeated ones repeatedly."""
    match expr:
        case Atom():
            yield expr
        case Prod():
            yield from itertools.chain.from_iterable(map(atoms_in, expr.factors))
        case Sum():
            yield from itertools.chain.from_iterable(map(atoms_in, expr.parts))


def kept_size(expr: Expr, sizes: Mapping[Atom, int]) -> int:
    """Returns the size that is left when each atom in `sizes` is cut to the given size."""
    match expr:
        case Atom():
            return sizes.get(expr, expr.size)
        case Prod():
            return math.prod(kept_size(factor, sizes) for factor in expr.factors)
        case Sum():
            return sum(kept_size(part, sizes) for part in expr.parts)


def only_atom(expr: Expr, able: Container[Atom]) -> Atom | None:
    """Returns the one atom, of those that may shrink, that an expression's size is a multiple of; else None.

    Example:
        >>> half = Atom(4)
        >>> [only_atom(expr, {half}) is half for expr in (half, Sum((half, half)), Prod((half, half)))]
        [True, True, False]
    """
    inside = {atom for atom in atoms_in(expr) if atom in able}
    if len(inside) != 1:
        return None
    atom = inside.pop()
    return atom if kept_size(expr, {atom: 1}) * atom.size == expr.size else None


def kept_mask(expr: Expr, masks: Mapping[Atom, Tensor]) -> Tensor:
    """Returns which of the dimension's indices stay, bool `[size]`, given that of each cut atom.

    An index of a product stays if all its coordinates stay; an index of a concatenation if it stays in its part.
    """
    match expr:
        case Atom():
            return masks[expr] if expr in masks else torch.ones(expr.size, dtype=torch.bool)
        case Prod():
            mask = torch.ones(1, dtype=torch.bool)
            for factor in expr.factors:
                mask = (mask[:, None] & kept_mask(factor, masks)[None, :]).flatten()
            return mask
        case Sum():
            return torch.cat([torch.ones(0, dtype=torch.bool), *(kept_mask(part, masks) for part in expr.parts)])


def fitted(expr: Expr, size: int, sizes: Mapping[Atom, int]) -> Expr:
    """Returns an expression with the real batch in the stand-in's place.

    Args:
        expr: a dimension.
        size: what a tensor that is there has in this dimension.
        sizes: what each cut atom has left in that tensor.
    """
    factors = expr.factors if isinstance(expr, Prod) else (expr,)
    if all(factor.size <= LARGEST_REAL for factor in factors):
        return expr
    known = math.prod(kept_size(factor, sizes) for factor in factors if factor.size <= LARGEST_REAL)
    return product(*(Atom(size // known) if factor.size > LARGEST_REAL else factor for factor in factors))
