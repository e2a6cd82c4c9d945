"""Words of learned tables."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.samples import words
from laconic.core.blocks import Blocks
from laconic.core.codings import Codebook
from laconic.core.errors import UsageError
from laconic.core.nearest import nearest_words

BOOK = torch.tensor([[[[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]]])


def test_a_hand_worked_row_of_three_vectors() -> None:
    coding = Codebook.of(
        vectors=Blocks(shape=(1, 6), axis=0, group_size=2),
        rows=1,
        books=BOOK,
        scale=torch.tensor([2.0]),
        codes=torch.tensor([[2, 0, 1]]),
    )
    assert coding.decode().tolist() == [[-2.0, -2.0, 2.0, 0.0, 0.0, 2.0]]
    assert coding.codes.tolist() == [2 + (0 << 2) + (1 << 4)]
    assert coding.encode(torch.tensor([[1.5, 0.1, -0.4, 3.0, -9.0, 1.0]])).integers().tolist() == [[0, 1, 2]]


def test_sums_of_two_stages() -> None:
    coding = Codebook.of(
        vectors=Blocks(shape=(2, 2), axis=0, group_size=2),
        rows=2,
        books=torch.cat((BOOK, BOOK / 4)),
        scale=None,
        codes=torch.tensor([[0, 1], [1, 2]]),
    )
    assert coding.decode().tolist() == [[1.0, 0.25], [-0.25, 0.75]]
    assert torch.equal(
        coding.encode(torch.tensor([[0.7, -0.2], [0.0, 1.2]])).integers(), torch.tensor([[0, 1], [2, 1]])
    )


def test_each_group_of_rows_reads_its_own_table() -> None:
    books = torch.tensor([[[[0.0], [1.0]], [[0.0], [10.0]]]])
    coding = Codebook.of(
        vectors=Blocks(shape=(3, 2), axis=0, group_size=1),
        rows=2,
        books=books,
        scale=None,
        codes=torch.tensor([[0, 1, 1, 1, 1, 0]]),
    )
    assert coding.decode().tolist() == [[0.0, 1.0], [1.0, 1.0], [10.0, 0.0]]
    assert coding.encode(torch.tensor([[2.0, 0.2], [0.4, 6.0], [2.0, 6.0]])).decode().tolist() == [
        [1.0, 0.0],
        [0.0, 1.0],
        [0.0, 10.0],
    ]


@given(
    count=st.integers(2, 9),
    length=st.integers(1, 5),
    rows=st.integers(1, 6),
    scaled=st.booleans(),
    seed=st.integers(0, 99),
)
def test_with_one_stage_every_vector_is_the_nearest_word(count, length, rows, scaled, seed) -> None:
    given_ = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(seed))
    coding = words(given_, words=count, length=length, rows=rows, scaled=scaled).encode(given_)
    mask = coding.vectors.split(torch.ones(6, 5, 3)).double()
    values, found = coding.vectors.split(given_).double(), coding.vectors.split(coding.decode()).double()
    per_channel = len(values) // 6
    for vector in range(len(values)):
        channel = vector // per_channel
        scale = 1.0 if coding.scale is None else float(coding.scale[channel])
        choices = coding.books[0, channel // rows].double() * scale
        distances = ((choices - values[vector]) * mask[vector]).square().sum(1)
        mine = ((found[vector] - values[vector]) * mask[vector]).square().sum()
        assert mine <= distances.min() * (1 + 1e-5) + 1e-9


def test_choosing_words_anew_never_adds_error_to_greedy_sums() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 200, 4, generator=generator)
    books = torch.randn(3, 2, 8, 4, generator=generator) * torch.tensor([1.0, 0.5, 0.3])[:, None, None, None]
    left = values.clone()
    for book in books:
        left = left - book[torch.arange(2)[:, None], nearest_words(left, book[None])[0]]
    codes = nearest_words(values, books)
    mine = values - sum(book[torch.arange(2)[:, None], code] for book, code in zip(books, codes, strict=True))
    assert (mine.square().sum(2) <= left.square().sum(2) + 1e-5).all()
    assert mine.square().sum() < 0.98 * left.square().sum()


@pytest.mark.parametrize("masked", [False, True])
def test_words_that_are_held_are_left_only_for_nearer_ones(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    values, books = torch.randn(2, 300, 4, generator=generator), torch.randn(3, 2, 8, 4, generator=generator)
    there = (torch.rand(2, 300, 4, generator=generator) < 0.7).float() if masked else None
    mix = torch.randn(2, 4, 4, generator=generator)
    metric = mix @ mix.mT if masked else None

    def distance(codes: torch.Tensor) -> torch.Tensor:
        said = sum(book[torch.arange(2)[:, None], code] for book, code in zip(books, codes, strict=True))
        left = values - (said if there is None else said * there)
        return ((left if metric is None else left @ metric) * left).sum(2)

    found = nearest_words(values, books, there, metric)
    best = torch.stack([torch.randint(8, (3, 2, 300), generator=generator) for _ in range(20)])
    best = best.gather(0, torch.stack([distance(c) for c in best]).argmin(0)[None, None].expand(1, 3, 2, 300))[0]
    again = nearest_words(values, books, there, metric, best)
    assert (distance(again) <= torch.minimum(distance(best), distance(found)) * (1 + 1e-4) + 1e-5).all()
    assert distance(again).sum() < 0.99 * distance(found).sum()


@pytest.mark.parametrize("stages", [1, 2])
def test_words_nearest_in_a_metric_where_some_elements_count_as_zero(stages: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values, books = torch.randn(2, 30, 3, generator=generator), torch.randn(stages, 2, 6, 3, generator=generator)
    there = (torch.rand(2, 30, 3, generator=generator) < 0.6).float()
    mixed = torch.randn(2, 3, 3, generator=generator)
    metric = mixed @ mixed.mT

    def cost(table: int, vector: int, *chosen: int) -> float:
        word = sum(books[stage, table, code] for stage, code in enumerate(chosen))
        error = (values[table, vector] - there[table, vector] * word).double()
        return float(error @ metric[table].double() @ error)

    codes = nearest_words(values, books, there, metric)
    for table, vector in itertools.product(range(2), range(30)):
        mine = [int(code) for code in codes[:, table, vector]]
        for stage in range(stages):  # No other word of one stage is better.
            for other in range(6):
                changed = [other if place == stage else code for place, code in enumerate(mine)]
                if stage == stages - 1:
                    assert cost(table, vector, *mine) <= cost(table, vector, *changed) * (1 + 1e-4) + 1e-5


def test_words_are_found_in_pieces_as_they_are_at_once(monkeypatch) -> None:
    values, books = torch.randn(1, 100, 3), torch.randn(1, 1, 7, 3)
    whole = nearest_words(values, books)
    monkeypatch.setattr("laconic.core.nearest.LARGEST", 40)
    assert torch.equal(nearest_words(values, books), whole)


def test_size_is_codes_tables_and_scales() -> None:
    coding = words(torch.randn(6, 5, 3), words=16, length=4)
    assert coding.size_bytes == 6 * 4 * 4 // 8 + 16 * 4 * 2 + 6 * 4
    assert coding.coded == ("codes", 4, coding.vectors, 1)
    assert words(torch.randn(6, 5, 3), words=5, length=1).coded == ("codes", 3, None, 1)


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"books": torch.zeros(1, 1, 1, 2)}, "books"),
        ({"books": torch.zeros(1, 1, 257, 2)}, "books"),
        ({"books": torch.zeros(1, 2, 3, 2)}, "books"),
        ({"books": torch.full((1, 1, 3, 2), torch.nan)}, "books"),
        ({"books": torch.zeros(1, 1, 3, 2, dtype=torch.float64)}, "books"),
        ({"scale": torch.zeros(1)}, "scale"),
        ({"scale": torch.ones(2)}, "scale"),
        ({"codes": torch.zeros(1, 9)}, "codes"),
        ({"rows": 0}, "rows"),
        ({"vectors": Blocks(shape=(1, 6))}, "vectors"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change, setting) -> None:
    parts = {
        "vectors": Blocks(shape=(1, 6), axis=0, group_size=2),
        "rows": 1,
        "books": BOOK,
        "scale": torch.tensor([2.0]),
        "codes": torch.tensor([[2, 0, 1]]),
    }
    with pytest.raises(UsageError, match=rf"^Codebook\.{setting}: got"):
        Codebook.of(**parts | change)


def test_weights_that_are_not_finite_are_refused() -> None:
    coding = words(torch.randn(6, 5, 3), words=4, length=1)
    with pytest.raises(UsageError, match=r"^Codebook\.encode: got"):
        coding.encode(torch.full((6, 5, 3), torch.nan))
