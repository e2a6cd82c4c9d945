import pytest
import torch
from distill_samples import distance, randn

from laconic.core.errors import UsageError
from laconic.distill import HierarchicalContext, Pair, SameFeatures


def test_the_distance_is_the_weighted_mean_over_the_sizes() -> None:
    student, teacher = randn(2, 3, 8, 8), randn(2, 3, 8, 8, seed=1)
    error = (student - teacher).double()

    def averaged(side: int) -> float:
        cell = 8 // side
        return error.reshape(2, 3, side, cell, side, cell).mean((3, 5)).square().mean().item()

    expected = (averaged(8) + averaged(4) / 2 + averaged(2) / 4 + averaged(1) / 8) / (1 + 1 / 2 + 1 / 4 + 1 / 8)
    assert distance(HierarchicalContext(), student, teacher) == pytest.approx(expected, rel=1e-6)


def test_sizes_that_are_not_smaller_than_the_image_are_left_out() -> None:
    student, teacher = randn(2, 3, 2, 2), randn(2, 3, 2, 2, seed=1)
    assert HierarchicalContext(sizes=(4, 2)).distance(
        Pair(student=student, teacher=teacher)
    ) == SameFeatures().distance(Pair(student=student, teacher=teacher))


def test_images_of_different_sizes_are_averaged_down_first() -> None:
    large, small = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), torch.tensor([[[[1.0]]]])
    assert distance(HierarchicalContext(), large, small) == 4


def test_what_it_cannot_compare_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected images .* Match a convolution"):
        distance(HierarchicalContext(), randn(2, 3), randn(2, 3))
    with pytest.raises(UsageError, match="the same shape"):
        distance(HierarchicalContext(), randn(2, 3, 4, 4), randn(2, 5, 4, 4))
    with pytest.raises(UsageError, match=r"HierarchicalContext\.sizes: got \(1, 2\)"):
        HierarchicalContext(sizes=(1, 2))
