import torch

from laconic.graph.axes.expression import (
    BATCH_STAND_INS,
    ONE,
    Atom,
    Prod,
    Sum,
    atoms_in,
    concatenation,
    fitted,
    kept_mask,
    kept_size,
    product,
)


def test_nested_products_become_one_and_ones_vanish():
    a, b, c = Atom(2), Atom(3), Atom(4)
    assert product(a, ONE, product(b, c)) == Prod((a, b, c))
    assert product(a, ONE) is a
    assert product(ONE, ONE) == ONE


def test_nested_concatenations_become_one_and_empty_parts_vanish():
    a, b, c = Atom(2), Atom(3), Atom(4)
    assert concatenation(a, Sum(()), concatenation(b, c)) == Sum((a, b, c))
    assert concatenation(a) is a


def test_atoms_of_equal_size_are_not_equal():
    assert Atom(3) != Atom(3)


def test_mask_of_a_product_is_row_major():
    a, b = Atom(2), Atom(3)
    masks = {a: torch.tensor([True, False]), b: torch.tensor([True, False, True])}
    assert kept_mask(product(a, b), masks).tolist() == [True, False, True, False, False, False]


def test_mask_of_a_concatenation_puts_one_part_after_the_other():
    a, b = Atom(2), Atom(3)
    masks = {b: torch.tensor([False, True, True])}
    assert kept_mask(concatenation(a, b), masks).tolist() == [True, True, False, True, True]


def test_kept_size_counts_what_the_mask_keeps():
    a, b = Atom(4), Atom(3)
    expr = concatenation(product(a, b), b, ONE)
    masks = {a: torch.tensor([True, False, True, True]), b: torch.tensor([False, True, True])}
    assert kept_size(expr, {a: 3, b: 2}) == int(kept_mask(expr, masks).sum()) == 9


def test_real_batch_takes_the_place_of_the_stand_in():
    heads = Atom(3)
    expr = fitted(product(Atom(BATCH_STAND_INS[0]), heads), 6, {})
    assert expr.size == 6 and list(atoms_in(expr))[1] is heads
    assert fitted(product(Atom(BATCH_STAND_INS[0]), heads), 4, {heads: 2}).size == 6
