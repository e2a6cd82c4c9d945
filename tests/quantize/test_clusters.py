"""Words by k-means."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.quantize.clusters import number_words, vector_words


def cost(values: torch.Tensor, mass: torch.Tensor, words: torch.Tensor) -> float:
    gaps = (values.double()[:, None] - words.double()[None]).square().amin(1)
    return float((gaps * mass.double()).sum())


def least(values: torch.Tensor, mass: torch.Tensor, count: int) -> float:
    """Over all ways to cut the ordered values into runs."""
    order = values.argsort()
    values, mass, best = values[order].double(), mass[order].double(), torch.inf
    for cuts in combinations(range(1, len(values)), count - 1):
        total = 0.0
        for first, last in zip((0, *cuts), (*cuts, len(values)), strict=True):
            v, m = values[first:last], mass[first:last]
            total += float((m * (v - (m * v).sum() / m.sum()).square()).sum())
        best = min(best, total)
    return best


@given(count=st.integers(1, 4), size=st.integers(4, 9), seed=st.integers(0, 999))
def test_no_other_numbers_are_nearer(count: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, mass = torch.randn(size, generator=generator), torch.rand(size, generator=generator) + 0.1
    words = number_words(values, mass, count)
    assert cost(values, mass, words) <= least(values, mass, count) * (1 + 1e-5) + 1e-9


def test_the_best_values_of_a_normal_distribution_are_the_published_ones() -> None:
    # Max 1960: two levels at +-0.7979, four at +-0.4528 and +-1.510, eight at 0.2451, 0.7560, 1.344, 2.152.
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200_000) + 0.5) / 200_000)
    ones = torch.ones_like(quantiles)
    assert number_words(quantiles, ones, 2).tolist() == pytest.approx([-0.7979, 0.7979], abs=2e-3)
    assert number_words(quantiles, ones, 4).tolist() == pytest.approx([-1.510, -0.4528, 0.4528, 1.510], abs=1e-2)
    assert number_words(quantiles, ones, 8)[4:].tolist() == pytest.approx([0.2451, 0.7560, 1.344, 2.152], abs=2e-2)


def test_heavy_numbers_draw_words_to_them() -> None:
    values = torch.tensor([0.0, 1.0, 10.0])
    assert number_words(values, torch.tensor([1.0, 1.0, 1.0]), 2).tolist() == [0.5, 10.0]
    assert number_words(values, torch.tensor([100.0, 100.0, 1e-3]), 2).tolist() == pytest.approx([0.0, 1.0], abs=1e-2)


@pytest.mark.parametrize("values", [torch.zeros(5), torch.ones(1), torch.tensor([1.0, 1.0, 2.0])])
def test_fewer_numbers_than_words_are_words_themselves(values: torch.Tensor) -> None:
    words = number_words(values, torch.ones(len(values)), 8)
    assert words.isfinite().all()
    assert cost(values, torch.ones(len(values)), words) == 0


def test_numbers_without_any_mass_count_alike() -> None:
    assert number_words(torch.tensor([0.0, 4.0]), torch.zeros(2), 1).tolist() == [2.0]


def test_four_clouds_have_words_in_their_middles() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    values = middles.repeat(50, 1) + 0.1 * torch.randn(200, 2, generator=generator)
    words = vector_words(values, torch.ones(200, 2), 4, generator)
    found = torch.cdist(middles, words)
    assert (found.amin(1) < 0.1).all()


def test_elements_without_mass_do_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([[0.0, 5.0], [0.1, -5.0], [9.0, 5.0], [9.1, -5.0]])
    words = vector_words(values, torch.tensor([[1.0, 0.0]]).expand(4, 2), 2, generator)
    assert sorted(words[:, 0].tolist()) == pytest.approx([0.05, 9.05])


def test_more_words_than_vectors_leave_no_error() -> None:
    values = torch.randn(3, 2)
    words = vector_words(values, torch.ones(3, 2), 8, torch.Generator().manual_seed(0))
    assert words.isfinite().all()
    assert torch.cdist(values, words).amin(1).max() < 1e-6
