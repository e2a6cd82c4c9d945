import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.graph.axes.algebra import Algebra
from laconic.graph.axes.expression import ONE, Atom, Prod, Sum, atoms_in, concatenation, kept_mask, product

FACTORS = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4)
PARTS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def masks_of(algebra, *exprs, seed=0):
    """A random cut of every free atom."""
    generator = torch.Generator().manual_seed(seed)
    atoms = {a for e in exprs for a in atoms_in(algebra.resolve(e)) if a not in algebra.frozen}
    ordered = sorted(atoms, key=lambda a: (a.size, id(a)))
    return {a: torch.rand(a.size, generator=generator) < 0.5 for a in ordered}


def masked(algebra, expr, masks):
    return kept_mask(algebra.resolve(expr), masks).tolist()


def test_atom_becomes_the_product_it_meets():
    algebra, whole, parts = Algebra(), Atom(12), product(Atom(3), Atom(4))
    algebra.unify(whole, parts)
    assert algebra.resolve(whole) == parts


def test_products_are_aligned_from_the_right():
    algebra, a, b, c = Algebra(), Atom(2), Atom(6), Atom(3)
    algebra.unify(product(a, b), product(Atom(4), c))
    assert algebra.resolve(b) == Prod((algebra.resolve(b).factors[0], c))
    assert not algebra.frozen


def test_concatenations_are_aligned_from_the_left():
    algebra, a, b = Algebra(), Atom(5), Atom(3)
    algebra.unify(concatenation(a, b), concatenation(Atom(2), Atom(6)))
    assert [p.size for p in algebra.resolve(concatenation(a, b)).parts] == [2, 3, 3]


def test_concatenation_of_multiples_is_a_product():
    algebra, first, second, width = Algebra(), Atom(6), Atom(4), Atom(2)
    algebra.unify(concatenation(first, second), product(Atom(5), width))
    assert algebra.resolve(first).factors[-1] is algebra.resolve(second).factors[-1]
    assert not algebra.frozen


def test_boundaries_that_cannot_meet_are_frozen():
    algebra, a, b = Algebra(), Atom(4), Atom(6)
    algebra.operator = "odd view"
    algebra.unify(product(a, b), product(Atom(6), Atom(4)))
    assert algebra.is_frozen(a) and algebra.is_frozen(b)
    assert set(algebra.frozen.values()) == {"odd view"}


def test_frozen_atom_freezes_whatever_it_meets_and_the_first_reason_stays():
    algebra, a, b = Algebra(), Atom(12), product(Atom(3), Atom(4))
    algebra.operator = "first"
    algebra.freeze(a)
    algebra.operator = "second"
    algebra.unify(b, a)
    assert {algebra.frozen[atom] for atom in atoms_in(b)} == {"first"}


def test_shuffled_dimension_that_meets_itself_is_one_atom_on_every_side():
    algebra, channels = Algebra(), Atom(16)
    groups, within = algebra.regroup((channels,), (2, 8))
    (shuffled,) = algebra.regroup((within, groups), (16,))
    algebra.unify(channels, shuffled)
    assert set(algebra.resolve(channels).factors) == {algebra.resolve(groups)}


def test_split_of_a_product_at_a_multiple_of_its_right_factor():
    algebra, heads, width = Algebra(), Atom(4), Atom(3)
    left, right = algebra.split_sum(product(heads, width), 6)
    assert (left.size, right.size) == (6, 6)
    assert isinstance(algebra.resolve(heads), Sum)
    assert algebra.split_sum(product(heads, width), 4) is None


def test_view_with_an_empty_dimension_is_frozen():
    algebra, a = Algebra(), Atom(3)
    assert [d.size for d in algebra.regroup((a, Sum(())), (0, 3))] == [0, 3]
    assert algebra.is_frozen(a)


@given(FACTORS, st.randoms(use_true_random=False))
def test_view_keeps_the_row_major_order_under_any_cut(sizes, random):
    shuffled = random.sample(sizes, len(sizes))
    algebra, dims = Algebra(), [Atom(s) if s > 1 else ONE for s in sizes]
    views = algebra.regroup(dims, shuffled)
    assert [v.size for v in views] == shuffled
    masks = masks_of(algebra, *dims, *views)
    assert masked(algebra, product(*dims), masks) == masked(algebra, product(*views), masks)


@given(FACTORS, FACTORS)
def test_unified_products_have_the_same_mask_under_any_cut(first, second):
    size = math.lcm(math.prod(first), math.prod(second))
    algebra = Algebra()
    a = product(Atom(size // math.prod(first)), *map(Atom, first))
    b = product(Atom(size // math.prod(second)), *map(Atom, second))
    algebra.unify(a, b)
    masks = masks_of(algebra, a, b)
    assert masked(algebra, a, masks) == masked(algebra, b, masks)


@given(PARTS, PARTS, st.integers(1, 3))
def test_unified_concatenations_have_the_same_mask_under_any_cut(first, second, width):
    algebra, size = Algebra(), max(sum(first), sum(second))
    a = product(
        concatenation(*map(Atom, first), *([Atom(size - sum(first))] if size > sum(first) else [])), Atom(width)
    )
    b = concatenation(*(product(Atom(p), Atom(width)) for p in second), *([Atom((size - sum(second)) * width)]))
    algebra.unify(a, b)
    masks = masks_of(algebra, a, b)
    assert masked(algebra, a, masks) == masked(algebra, b, masks)


@given(PARTS, st.integers(2, 3))
def test_view_of_a_concatenation_keeps_the_order_under_any_cut(parts, width):
    algebra, whole = Algebra(), concatenation(*(Atom(p * width) for p in parts))
    views = algebra.regroup((whole,), (sum(parts), width))
    masks = masks_of(algebra, whole, *views)
    assert masked(algebra, whole, masks) == masked(algebra, product(*views), masks)
