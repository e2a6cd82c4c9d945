import pytest
import torch
from distill_samples import distance, randn
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.distill import NeuronSelectivity


def mean_kernel(one: list[list[float]], other: list[list[float]], degree: int) -> float:
    dots = [sum(a * b for a, b in zip(x, y, strict=True)) for x in one for y in other]
    return sum(d**degree for d in dots) / len(dots)


def test_a_hand_worked_value() -> None:
    # Teacher's channels e1, e2; student's e1 alone: 1/2 + 1 - 2 * 1/2.
    student, teacher = [[[7.0, 0.0]]], [[[2.0, 0.0], [0.0, 3.0]]]
    assert distance(NeuronSelectivity(), student, teacher) == pytest.approx(0.5)


@given(degree=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(degree: int, seed: int) -> None:
    student, teacher = randn(1, 3, 2, 2, seed=seed), randn(1, 5, 2, 2, seed=seed + 1)
    s, t = ((x / x.norm(dim=1, keepdim=True)).tolist() for x in (y[0].double().flatten(1) for y in (student, teacher)))
    expected = mean_kernel(t, t, degree) + mean_kernel(s, s, degree) - 2 * mean_kernel(s, t, degree)
    found = distance(NeuronSelectivity(degree=degree), student, teacher)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found >= -1e-12


def test_order_and_positive_scale_of_channels_change_nothing() -> None:
    student, teacher = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    moved = student[:, [2, 0, 1]] * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1)
    assert distance(NeuronSelectivity(), moved, teacher) == pytest.approx(
        distance(NeuronSelectivity(), student, teacher)
    )


def test_values_outside_their_domain_are_refused() -> None:
    with pytest.raises(UsageError, match=r"NeuronSelectivity\.degree: got 1"):
        NeuronSelectivity(degree=1)
    with pytest.raises(UsageError, match="expected the same positions"):
        distance(NeuronSelectivity(), randn(2, 3, 4), randn(2, 3, 5))
