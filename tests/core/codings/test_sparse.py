"""Masks around other codings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core.samples import asymmetric, symmetric, words
from laconic.core.apply import apply, refit
from laconic.core.blocks import Blocks
from laconic.core.codings import Codebook, Dense, Half, Sparse
from laconic.core.edit import Recode
from laconic.core.errors import UsageError
from laconic.core.layout import Layout
from laconic.core.plan import Plan
from laconic.core.positions import Combinations

WEIGHT = torch.randn(8, 12, generator=torch.Generator().manual_seed(1))


@given(st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_any_mask_comes_back(rows: int, columns: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    mask = torch.rand(rows, columns, generator=generator) < share
    coding = Sparse.of(weight, mask)
    again = Sparse.from_parts(coding.config(), coding.tensors())
    assert torch.equal(again.decode(), weight * mask)
    assert torch.equal(again.mask, mask)


def test_only_values_inside_the_mask_are_stored() -> None:
    mask = WEIGHT > 0.1
    coding = Sparse.of(WEIGHT, mask)
    assert torch.equal(coding.tensors()["inner.values"], WEIGHT[mask])
    assert coding.size_bytes == 4 * int(mask.sum()) + 96 // 8


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_a_grid_inside_stores_codes_only_for_what_is_kept(bits: int) -> None:
    mask, grid = WEIGHT > 0.1, symmetric(WEIGHT, bits)
    coding = Sparse.of(WEIGHT, mask, inner=grid)
    kept = int(mask.sum())
    assert coding.size_bytes == (kept * bits + 7) // 8 + 8 * 4 + 96 // 8
    assert torch.equal(coding.decode(), torch.where(mask, grid.decode(), 0.0))


def test_a_grid_that_holds_no_zero_at_zero_keeps_the_zeros() -> None:
    mask, grid = WEIGHT > 0.3, asymmetric(WEIGHT + 3, 2)
    assert (Sparse.of(WEIGHT, mask, inner=grid).decode()[~mask] == 0).all()


def test_what_was_zero_stays_zero_whatever_is_encoded() -> None:
    coding = Sparse.of(WEIGHT, WEIGHT > 0, inner=symmetric(WEIGHT, 4))
    assert (coding.encode(torch.ones(8, 12)).decode()[WEIGHT <= 0] == 0).all()


def test_two_of_four_costs_three_bits_a_group() -> None:
    mask = torch.tensor([True, False, False, True]).repeat(8, 3)
    coding = Sparse.of(WEIGHT, mask, inner=Half.of(WEIGHT), n_of_m=(2, 4))
    assert isinstance(coding.positions, Combinations)
    assert coding.size_bytes == 2 * 48 + 3 * 24 // 8
    assert str(coding) == "50 % zeros by 2:4, rest float16 8 x 12"


def test_a_last_group_that_is_too_short_is_filled_up() -> None:
    weight, mask = WEIGHT[:, :9], torch.tensor([True, False, False, True, True, True, False, False, True]).repeat(8, 1)
    coding = Sparse.of(weight, mask, n_of_m=(2, 4))
    assert torch.equal(Sparse.from_parts(coding.config(), coding.tensors()).decode(), weight * mask)


def test_blocks_are_stored_one_bit_each() -> None:
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[4:] = True
    coding = Sparse.of(WEIGHT, mask, block=(4, 3))
    assert coding.size_bytes == 4 * 48 + 1
    assert torch.equal(coding.decode(), WEIGHT * mask)


def test_blocks_lie_in_the_matrices_of_the_layout() -> None:
    weight = torch.randn(4, 6, 1, 2)
    layout = Layout(shape=(4, 6, 1, 2), split=(4, 6, 1, 2), order=(0, 2, 3, 1), matrix=(1, 4, 12))
    keep = torch.zeros(1, 4, 12, dtype=torch.bool)
    keep[:, :2, 3:6] = True  # both rows, first position, channels 3 to 5
    coding = Sparse.of(weight, layout.restore(keep), layout=layout, block=(2, 3))
    again = Sparse.from_parts(coding.config(), coding.tensors()).decode()
    assert torch.equal(again[:2, 3:, 0, 0], weight[:2, 3:, 0, 0])
    assert int((again != 0).sum()) == 6


def test_masks_that_cut_through_blocks_are_refused() -> None:
    with pytest.raises(UsageError, match="a mask that cuts through blocks"):
        Sparse.of(WEIGHT, WEIGHT > 0, block=(2, 2))


def test_masks_of_another_pattern_are_refused() -> None:
    with pytest.raises(UsageError, match="exactly 2 of every 4"):
        Sparse.of(WEIGHT, torch.ones(8, 12, dtype=torch.bool), n_of_m=(2, 4))


def test_what_is_not_finite_is_refused_also_outside_the_mask() -> None:
    weight = WEIGHT.clone()
    weight[0, 0] = torch.nan
    with pytest.raises(UsageError, match="NaN or infinity"):
        Sparse.of(weight, WEIGHT > 1, inner=Dense.of(WEIGHT))


def test_training_under_a_mask_keeps_zeros_and_moves_the_rest() -> None:
    model = nn.Linear(12, 8, bias=False)
    mask = model.weight.detach().abs() > 0.1
    plan = Plan.of([Recode("weight", Sparse.of(model.weight, mask))])
    free = apply(model, plan, trainable=True)
    optimizer = torch.optim.SGD(free.parameters(), lr=0.5)
    free(torch.randn(16, 12)).square().sum().backward()
    optimizer.step()
    trained = refit(plan, free).recodes[0].coding.decode()
    assert ((trained != 0) == mask).all()
    assert not torch.equal(trained, plan.recodes[0].coding.decode())


def test_plans_with_masks_are_saved_and_read(tmp_path: object) -> None:
    plan = Plan.of([Recode("weight", Sparse.of(WEIGHT, WEIGHT > 0.7, inner=symmetric(WEIGHT, 5)))])
    plan.save(str(tmp_path))
    assert Plan.load(str(tmp_path)) == plan


def test_damaged_parts_are_refused() -> None:
    coding = Sparse.of(WEIGHT, WEIGHT > 0.7)
    config, tensors = coding.config(), coding.tensors()
    with pytest.raises(UsageError, match="got 96; expected 48 blocks"):
        Sparse.from_parts(config | {"block": [1, 2]}, tensors)
    with pytest.raises(UsageError, match=r"Sparse\.block"):
        Sparse.from_parts(config | {"block": [0, 1]}, tensors)


@pytest.mark.parametrize("stages", [1, 3])
def test_vectors_store_codes_only_where_the_mask_keeps_something_of_them(stages: int) -> None:
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[0, 5], mask[3, 8:10], mask[7, 11] = True, True, True  # Three of 24 vectors of four.
    inner = words(WEIGHT, words=16, length=4, stages=stages, rows=8)
    coding = Sparse.around(inner, mask)
    assert torch.equal(coding.decode(), torch.where(mask, inner.decode(), 0.0))
    assert len(coding.tensors()["inner.codes"]) == -(-3 * stages * 4 // 8)
    assert torch.equal(Sparse.from_parts(coding.config(), coding.tensors()).decode(), coding.decode())


def test_values_of_inner_channels_come_back_at_their_places() -> None:
    weight = WEIGHT.view(4, 6, 4)
    inner = words(weight, words=7, length=1, axis=1)
    coding = Sparse.around(inner, weight > 0.3)
    again = Sparse.from_parts(coding.config(), coding.tensors())
    assert torch.equal(again.decode(), torch.where(weight > 0.3, inner.decode(), 0.0))


def test_a_word_is_chosen_by_what_the_mask_keeps_of_a_vector() -> None:
    book = torch.tensor([[[[1.0, 9.0], [2.0, 0.0], [-1.0, 9.0]]]])
    blocks = Blocks(shape=(2, 2), axis=0, group_size=2)
    blank = Codebook.of(vectors=blocks, rows=2, books=book, scale=None, codes=torch.zeros(1, 2))
    mask = torch.tensor([[True, False], [True, True]])
    coding = Sparse.of(torch.tensor([[1.1, 0.0], [1.1, 0.1]]), mask, inner=blank)
    assert coding.decode().tolist() == [[1.0, 0.0], [2.0, 0.0]]
    assert coding.project(torch.tensor([[-7.0, 0.0], [3.0, 5.0]])).tolist() == [[-1.0, 0.0], [1.0, 9.0]]
