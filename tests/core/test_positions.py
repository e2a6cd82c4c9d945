"""Sets of places in few bytes."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.core.positions import ALL, Bitmap, Combinations, Gaps, Positions, fewest
from laconic.core.stored import of_kind

sets = st.lists(st.booleans(), max_size=70).map(lambda bits: torch.tensor(bits, dtype=torch.bool))


def again(places: Positions) -> Positions:
    return of_kind(ALL, places.kind, "test").from_parts(places.config(), places.tensors())


@given(sets)
def test_a_bitmap_gives_back_its_set(taken: torch.Tensor) -> None:
    assert torch.equal(again(Bitmap.of(taken)).taken(), taken)


@given(sets, st.sampled_from([None, *range(2, 9)]))
def test_gaps_give_back_their_set(taken: torch.Tensor, bits: int | None) -> None:
    assert torch.equal(again(Gaps.of(taken, bits=bits)).taken(), taken)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (2, 4), (4, 8), (3, 3), (5, 11)])
def test_every_combination_has_a_number_of_its_own_and_comes_back(n: int, m: int) -> None:
    rows = [[i in chosen for i in range(m)] for chosen in itertools.combinations(range(m), n)]
    taken = torch.tensor(rows).flatten()
    places = Combinations.of(taken, n=n, m=m)
    assert torch.equal(again(places).taken(), taken)
    assert places.bits == math.ceil(math.log2(math.comb(m, n)))


def test_wide_numbers_come_back() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randperm(32, generator=generator) < 16 for _ in range(50)])
    places = Combinations.of(rows.flatten(), n=16, m=32)
    assert places.bits == 30
    assert torch.equal(again(places).taken(), rows.flatten())


def test_two_of_four_takes_three_bits_a_group() -> None:
    assert Combinations.of(torch.tensor([1, 1, 0, 0] * 80).bool(), n=2, m=4).size_bytes == 30


def test_gaps_follow_a_hand_worked_example() -> None:
    # Two empty, one taken, four empty (three and go on, one more), one taken: codes 2, 3, 1.
    gaps = Gaps.of(torch.tensor([0, 0, 1, 0, 0, 0, 0, 1]).bool(), bits=2)
    assert (gaps.codes, gaps.gaps.tolist()) == (3, [2 | 3 << 2 | 1 << 4])


def test_gaps_take_the_bits_that_make_them_smallest() -> None:
    taken = torch.zeros(4000, dtype=torch.bool)
    taken[::20] = True
    assert Gaps.of(taken).size_bytes == min(Gaps.of(taken, bits=bits).size_bytes for bits in range(2, 9))


def test_the_smaller_format_is_chosen() -> None:
    dense, rare = torch.arange(4000) % 2 == 0, torch.arange(4000) % 50 == 0
    assert isinstance(fewest(dense), Bitmap)
    assert isinstance(fewest(rare), Gaps)
    assert fewest(rare).size_bytes < Bitmap.of(rare).size_bytes == 500


def test_another_number_in_a_group_is_refused() -> None:
    with pytest.raises(UsageError, match="exactly 2 of every 4 places"):
        Combinations.of(torch.tensor([1, 1, 1, 0]).bool(), n=2, m=4)


def test_more_than_a_group_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Combinations: got '5:4'; expected 1 <= n <= m"):
        Combinations(count=4, n=5, m=4, index=torch.empty(0, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (Bitmap, {"count": 9}),
        (Gaps, {"count": 9, "bits": 4, "codes": 5}),
        (Combinations, {"count": 40, "n": 2, "m": 4}),
    ],
)
def test_another_number_of_bytes_is_refused(kind: type[Positions], config: dict[str, int]) -> None:
    name = {Bitmap: "bitmap", Gaps: "gaps", Combinations: "index"}[kind]
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.{name}: got 'torch\.uint8 \[1\]'; expected \d bytes"):
        kind.from_parts(config, {name: torch.zeros(1, dtype=torch.uint8)})
