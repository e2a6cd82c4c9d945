"""Where zeros may lie."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.prune.weights import BlockPattern, NOfM, Pattern, pattern_of

SCORES = torch.rand(2, 6, 10, generator=torch.Generator().manual_seed(0))


def test_any_weight_by_itself_the_least_go() -> None:
    kept = BlockPattern().keep(SCORES, 45)
    assert int(kept.sum()) == 75
    assert SCORES[kept].min() > SCORES[~kept].max()


def test_of_equal_scores_the_first_go() -> None:
    kept = BlockPattern().keep(torch.tensor([[[1.0, 0.0, 1.0], [1.0, 2.0, 1.0]]]), 3)
    assert kept.int().tolist() == [[[0, 0, 0], [1, 1, 1]]]


def test_by_row_each_row_loses_as_many() -> None:
    kept = BlockPattern().keep(SCORES, 60, by_row=True)
    assert (kept.sum(2) == 5).all()
    assert (SCORES.masked_fill(~kept, 2).amin(2) > SCORES.masked_fill(kept, -1).amax(2)).all()


def test_by_row_as_many_go_as_are_asked_for_where_rows_cannot_lose_equally() -> None:
    for pattern, removed in ((pattern_of("rows"), 5), (BlockPattern(columns=4), 16), (BlockPattern(), 58)):
        kept = pattern.means(pattern.keep(SCORES, removed, by_row=True).float())
        assert int((kept == 0).sum()) == removed
        lost = (kept == 0).sum(2)
        assert int(lost.max() - lost.min()) == 1
    rows = pattern_of("rows").keep(SCORES, 5, by_row=True).all(2)
    assert SCORES.mean(2)[rows].min() > SCORES.mean(2)[~rows].max()


def test_blocks_go_by_their_mean_also_where_the_edge_cuts_them_off() -> None:
    pattern, shape = BlockPattern(rows=4, columns=4), (2, 6, 10)
    means = torch.stack(
        [SCORES[g, r : r + 4, c : c + 4].mean() for g in range(2) for r in (0, 4) for c in (0, 4, 8)]
    ).reshape(2, 2, 3)
    torch.testing.assert_close(pattern.means(SCORES), means)
    kept = pattern.keep(SCORES, 5)
    worst = means.flatten().argsort()[:5]
    for number, block in enumerate((g, r, c) for g in range(2) for r in (0, 4) for c in (0, 4, 8)):
        g, r, c = block
        assert (kept[g, r : r + 4, c : c + 4] == (number not in worst)).all()
    assert pattern.units(shape) == 12
    assert pattern.removed(shape, 0.4) == 5


def test_whole_rows_and_columns_go() -> None:
    rows = pattern_of("rows").keep(SCORES, 3)
    assert (rows.all(2) | ~rows.any(2)).all()
    assert int(rows.all(2).sum()) == 9
    columns = pattern_of("columns").keep(SCORES, 7)
    assert (columns.all(1) | ~columns.any(1)).all()
    assert int(columns.all(1).sum()) == 13


@given(st.integers(1, 9).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))), st.integers(1, 20))
def test_of_every_m_columns_the_n_largest_stay(form: tuple[int, int], columns: int) -> None:
    n, m = form
    scores = torch.rand(2, 3, columns, generator=torch.Generator().manual_seed(columns))
    kept = NOfM(n=n, m=m).keep(scores, 0)
    for start in range(0, columns, m):
        group, inside = scores[:, :, start : start + m], kept[:, :, start : start + m]
        assert (inside.sum(2) == min(n, group.shape[2])).all()
        assert (group.masked_fill(~inside, 2).amin(2) >= group.masked_fill(inside, -1).amax(2)).all()


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("unstructured", BlockPattern()),
        ("2:4", NOfM(n=2, m=4)),
        ("16x16", BlockPattern(rows=16, columns=16)),
        ((4, 1), BlockPattern(rows=4, columns=1)),
        (NOfM(n=1, m=8), NOfM(n=1, m=8)),
    ],
)
def test_patterns_are_read(form: object, pattern: Pattern) -> None:
    assert pattern_of(form) == pattern


@pytest.mark.parametrize("form", ["2of4", "", "diagonal", (4,), (1, 2, 3), 7])
def test_what_is_no_pattern_is_refused(form: object) -> None:
    with pytest.raises(UsageError, match=r"prune\.weights\.pattern: got .*; expected 'unstructured'"):
        pattern_of(form)


@pytest.mark.parametrize("form", ["5:4", "0:4", "2:40"])
def test_more_than_a_group_has_is_refused(form: str) -> None:
    with pytest.raises(UsageError, match=rf"prune\.weights\.NOfM: got '{form}'; expected N:M with 1 <= N <= M"):
        pattern_of(form)


def test_blocks_without_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"BlockPattern\.rows: got 0"):
        pattern_of((0, 4))
