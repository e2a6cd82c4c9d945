import math

import pytest
import torch
from distill_samples import distance, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.errors import UsageError
from laconic.distill import CorrelationCongruence


def units(features: Tensor) -> list[Tensor]:
    return [row / row.norm() for row in features.double().flatten(1)]


def gauss(features: Tensor, gamma: float) -> list[float]:
    rows = units(features)
    return [math.exp(-gamma * float((a - b).square().sum())) for a in rows for b in rows]


def test_a_hand_worked_value() -> None:
    # Orthogonal against equal samples: off the diagonal 1 against 1 + 2 gamma, both times exp(-2 gamma), at order 1.
    loss = CorrelationCongruence(gamma=0.5, order=1)
    assert distance(loss, [[1.0, 0.0], [0.0, 1.0]], [[3.0], [4.0]]) == pytest.approx(math.exp(-2) / 2)


@given(gamma=st.floats(0.1, 1.0), seed=st.integers(0, 10**6))
def test_with_growing_order_it_becomes_the_gaussian_kernel(gamma: float, seed: int) -> None:
    student, teacher = randn(4, 2, 2, seed=seed), randn(4, 3, seed=seed + 1)
    errors = [(a - b) ** 2 for a, b in zip(gauss(student, gamma), gauss(teacher, gamma), strict=True)]
    found = distance(CorrelationCongruence(gamma=gamma, order=15), student, teacher)
    assert found == pytest.approx(sum(errors) / 16, rel=1e-7, abs=1e-12)


def test_a_rotation_and_a_positive_factor_on_a_sample_change_nothing() -> None:
    student, teacher = randn(4, 6).double(), randn(4, 6, seed=1)
    moved = torch.tensor([[0.1], [1.0], [5.0], [9.0]]) * student @ rotation(6)
    assert distance(CorrelationCongruence(), moved, teacher) == pytest.approx(
        distance(CorrelationCongruence(), student, teacher)
    )


@pytest.mark.parametrize(("name", "value"), [("gamma", 0), ("gamma", math.inf), ("order", 0), ("order", 1.5)])
def test_values_outside_their_domain_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"CorrelationCongruence\.{name}: got"):
        CorrelationCongruence(**{name: value})
