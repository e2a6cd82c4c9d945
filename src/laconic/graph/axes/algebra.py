"""Unification: makes two dimensions the same index set, splitting atoms where their boundaries differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from laconic.graph.axes.expression import ONE, Atom, Expr, Prod, Sum, atoms_in, concatenation, product

MOST_STEPS = 2_000_000
"""Bound on all work of one analysis; beyond it everything that is met is frozen."""


class Algebra:
    """The state of one analysis: what atoms turned out to be, and which are frozen and why.

    Args:
        spared: a dimension that nothing freezes; what would have is in `refused`.

    Attributes:
        operator: what freezes from now on; set by the analysis before each rule.
    """

    def __init__(self, spared: Expr = ONE) -> None:
        self.operator = ""
        self.frozen: dict[Atom, str] = {}
        self.refused: list[str] = []
        self._spared = spared
        self._bound: dict[Atom, Expr] = {}
        self._steps = 0

    def fresh(self, size: int) -> Expr:
        """Returns a new free dimension."""
        return ONE if size == 1 else Atom(size)

    def rigid(self, size: int) -> Expr:
        """Returns a new frozen dimension."""
        expr = self.fresh(size)
        self.freeze(expr)
        return expr

    def resolve(self, expr: Expr) -> Expr:
        """Returns what an expression is by now, in atoms that are not split any further."""
        match expr:
            case Atom():
                if expr not in self._bound:
                    return expr
                self._bound[expr] = found = self.resolve(self._bound[expr])
                return found
            case Prod():
                return product(*map(self.resolve, expr.factors))
            case Sum():
                return concatenation(*map(self.resolve, expr.parts))

    def freeze(self, *exprs: Expr) -> None:
        """Forbids cutting anything in these dimensions, in the name of the current operator."""
        self._freeze(exprs, self.operator)

    def is_frozen(self, expr: Expr) -> bool:
        """Whether nothing in a dimension can be cut."""
        return all(atom in self.frozen for atom in atoms_in(self.resolve(expr)))

    def unify(self, first: Expr, second: Expr) -> None:
        """Makes two dimensions of one size the same; what cannot be aligned is frozen."""
        first, second = self.resolve(first), self.resolve(second)
        self._steps += 1
        if first == second:
            return
        if first.size != second.size or self._steps > MOST_STEPS:
            self.freeze(first, second)
        elif isinstance(first, Atom):
            self._bind(first, second)
        elif isinstance(second, Atom):
            self._bind(second, first)
        elif isinstance(first, Prod) and isinstance(second, Prod):
            self._align_products(list(first.factors), list(second.factors))
        else:
            self._align_sums(_parts(first), _parts(second))

    def split_sum(self, expr: Expr, size: int) -> tuple[Expr, Expr] | None:
        """Splits a dimension into its first `size` indices and the rest; None where that cuts through a product."""
        expr = self.resolve(expr)
        if size in (0, expr.size):
            empty = Sum(())
            return (empty, expr) if size == 0 else (expr, empty)
        match expr:
            case Atom():
                halves = self._halves(expr, size, expr.size - size)
                self._refine(expr, concatenation(*halves))
                return halves
            case Sum():
                return self._split_parts(expr, size)
            case Prod():
                rest = product(*expr.factors[1:])
                found = self.split_sum(expr.factors[0], size // rest.size) if size % rest.size == 0 else None
                return found and (product(found[0], rest), product(found[1], rest))

    def split_product(self, expr: Expr, size: int) -> tuple[Expr, Expr] | None:
        """Splits a dimension into a product whose right factor has this size; None where that is impossible."""
        expr = self.resolve(expr)
        if size == 1 or size == expr.size:
            return (expr, ONE) if size == 1 else (ONE, expr)
        if size == 0 or expr.size % size:
            return None
        match expr:
            case Atom():
                halves = self._halves(expr, expr.size // size, size)
                self._refine(expr, product(*halves))
                return halves
            case Sum():
                return self._split_every_part(expr, size)
            case Prod():
                return self._split_factors(expr, size)

    def regroup(self, dims: Sequence[Expr], sizes: Sequence[int]) -> tuple[Expr, ...]:
        """Returns the dimensions of a view with these sizes; a stretch that cannot be regrouped is frozen."""
        if 0 in sizes or math.prod(sizes) != math.prod(d.size for d in dims):
            self.freeze(*dims)
            return tuple(map(self.rigid, sizes))
        found: list[Expr] = []
        for stretch, wanted in _stretches(dims, sizes):
            found += self._regroup_stretch(stretch, wanted)
        return tuple(found)

    def _regroup_stretch(self, dims: Sequence[Expr], sizes: Sequence[int]) -> Iterable[Expr]:
        rest = product(*map(self.resolve, dims))
        found: list[Expr] = []
        for size in reversed(sizes):
            split = self.split_product(rest, size)
            if split is None:
                self.freeze(*dims)
                return map(self.rigid, sizes)
            rest, right = split
            found.append(right)
        return reversed(found)

    def _freeze(self, exprs: Iterable[Expr], reason: str) -> None:
        spared = set(atoms_in(self.resolve(self._spared)))
        for expr in exprs:
            for atom in atoms_in(self.resolve(expr)):
                if atom in spared:
                    self.refused.append(reason)
                else:
                    self.frozen.setdefault(atom, reason)

    def _bind(self, atom: Atom, other: Expr) -> None:
        if atom in self.frozen:
            self._freeze([other], self.frozen[atom])
        elif isinstance(other, Atom) and other in self.frozen:
            self._freeze([atom], self.frozen[other])
        else:
            self._bound[atom] = other

    def _halves(self, atom: Atom, left: int, right: int) -> tuple[Expr, Expr]:
        halves = (self.fresh(left), self.fresh(right))
        if atom in self.frozen:
            self._freeze(halves, self.frozen[atom])
        return halves

    def _refine(self, atom: Atom, expr: Expr) -> None:
        """A free atom becomes what it was split into; a frozen one needs no structure."""
        if atom not in self.frozen:
            self._bound[atom] = expr

    def _split_parts(self, expr: Sum, size: int) -> tuple[Expr, Expr] | None:
        for i, part in enumerate(expr.parts):
            if size < part.size:
                found = self.split_sum(part, size)
                before, after = expr.parts[:i], expr.parts[i + 1 :]
                return found and (concatenation(*before, found[0]), concatenation(found[1], *after))
            size -= part.size
        return None

    def _split_every_part(self, expr: Sum, size: int) -> tuple[Expr, Expr] | None:
        """(a x k) and then (b x k) is (a and then b) x k: every part gives the same right factor."""
        if any(part.size % size for part in expr.parts):
            return None
        halves = [self.split_product(part, size) for part in expr.parts]
        found = [half for half in halves if half is not None]
        if len(found) < len(halves):
            return None
        for _, right in found[1:]:
            self.unify(found[0][1], right)
        return concatenation(*(left for left, _ in found)), found[0][1]

    def _split_factors(self, expr: Prod, size: int) -> tuple[Expr, Expr] | None:
        right: list[Expr] = []
        factors = list(expr.factors)
        while factors and size % factors[-1].size == 0:
            right.insert(0, factors.pop())
            size //= right[0].size
        if size == 1:
            return product(*factors), product(*right)
        found = self.split_product(factors[-1], size)
        return found and (product(*factors[:-1], found[0]), product(found[1], *right))

    def _align_products(self, first: list[Expr], second: list[Expr]) -> None:
        while first and second:
            a, b = self.resolve(first.pop()), self.resolve(second.pop())
            if a.size < b.size:
                (a, b), (first, second) = (b, a), (second, first)
            split = self.split_product(a, b.size)
            if split is None:
                self.freeze(a, b, *first, *second)
                return
            left, right = split
            first += [left] if left != ONE else []
            self.unify(right, b)

    def _align_sums(self, first: list[Expr], second: list[Expr]) -> None:
        while first and second:
            a, b = self.resolve(first.pop(0)), self.resolve(second.pop(0))
            if a.size < b.size:
                (a, b), (first, second) = (b, a), (second, first)
            split = self.split_sum(a, b.size)
            if split is None:
                self.freeze(a, b, *first, *second)
                return
            left, rest = split
            first[:0] = [rest] if rest.size else []
            self.unify(left, b)


def _parts(expr: Expr) -> list[Expr]:
    return list(expr.parts) if isinstance(expr, Sum) else [expr]


def _stretches(dims: Sequence[Expr], sizes: Sequence[int]) -> Iterable[tuple[list[Expr], list[int]]]:
    """Cuts both sides at every place up to which they hold equally many elements."""
    dims, sizes = list(dims), list(sizes)
    while dims or sizes:
        stretch, wanted = dims[:1], sizes[:1]
        del dims[:1], sizes[:1]
        while (have := math.prod(d.size for d in stretch)) != (want := math.prod(wanted)):
            if have < want:
                stretch.append(dims.pop(0))
            else:
                wanted.append(sizes.pop(0))
        yield stretch, wanted
