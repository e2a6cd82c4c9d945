import pytest
import torch

from laconic.core.hashing import PIECE, mixed, shared_places


def slow_mixed(word: int) -> int:
    word = (word + 0x9E3779B9) % 2**32
    for _ in range(2):
        word = ((word >> 16) ^ word) * 0x45D9F3B % 2**32
    return (word >> 16) ^ word


def test_words_are_mixed_to_values_that_never_change():
    words = [0, 1, 2, 2**31, 2**32 - 1]
    assert mixed(torch.tensor(words[:3])).tolist() == [3108667723, 3214059150, 2868339321]
    assert mixed(torch.tensor(words)).tolist() == [slow_mixed(word) for word in words]


def test_places_share_the_same_numbers_on_every_machine():
    buckets, signs = shared_places(10, 7, 0)
    assert buckets.tolist() == [5, 5, 5, 3, 2, 6, 4, 4, 6, 1]
    assert signs.tolist() == [-1, -1, 1, -1, -1, 1, 1, 1, 1, -1]


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_places_follow_the_formula(seed):
    buckets, signs = shared_places(200, 1000, seed)
    hashes = [slow_mixed(slow_mixed(i) ^ slow_mixed(seed)) for i in range(200)]
    assert buckets.tolist() == [h * 1000 // 2**32 for h in hashes]
    assert signs.tolist() == [-1 if slow_mixed(h ^ 0x7FEB352D) % 2 else 1 for h in hashes]


def test_places_do_not_depend_on_how_many_there_are():
    long, short = shared_places(PIECE + 5, 9, 3), shared_places(20, 9, 3)
    assert all(torch.equal(a[:20], b) for a, b in zip(long, short, strict=True))
    assert torch.equal(shared_places(PIECE + 5, 2**31 - 1, 3)[1][-5:], long[1][-5:])


def test_buckets_and_signs_are_used_alike():
    buckets, signs = shared_places(2**16, 64, 1)
    counts = torch.bincount(buckets * 2 + (signs > 0), minlength=128)
    # Chi-squared with 127 degrees of freedom: mean 127, standard deviation 16.
    assert float(((counts - 512) ** 2 / 512).sum()) < 127 + 5 * 16


def test_different_words_give_different_words():
    assert len(mixed(torch.arange(2**16)).unique()) == 2**16
