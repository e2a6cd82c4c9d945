import math

import pytest
import torch
from distill_samples import distance, kl, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.distill import ProbabilisticTransfer


def neighbours(features: Tensor) -> list[list[float]]:
    rows = [row / row.norm() for row in features.double().flatten(1)]
    kernel = [[float(a @ b + 1) / 2 for j, b in enumerate(rows) if j != i] for i, a in enumerate(rows)]
    return [[k / sum(row) for k in row] for row in kernel]


def test_a_hand_worked_value() -> None:
    # Student: e1, e2, e3: all neighbours alike, (1/2, 1/2). Teacher: e1, e1, e2: (2/3, 1/3) twice, then (1/2, 1/2).
    student, teacher = torch.eye(3), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    expected = 2 / 3 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    assert distance(ProbabilisticTransfer(), student, teacher) == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(seed: int) -> None:
    student, teacher = randn(4, 3, 2, seed=seed), randn(4, 7, seed=seed + 1)
    expected = sum(kl(t, s) for s, t in zip(neighbours(student), neighbours(teacher), strict=True)) / 4
    found = distance(ProbabilisticTransfer(), student, teacher)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found >= 0


def test_a_rotation_and_a_positive_factor_on_a_sample_change_nothing() -> None:
    student, teacher = randn(4, 6).double(), randn(4, 6, seed=1)
    moved = torch.tensor([[0.1], [1.0], [5.0], [9.0]]) * student @ rotation(6)
    assert distance(ProbabilisticTransfer(), moved, teacher) == pytest.approx(
        distance(ProbabilisticTransfer(), student, teacher)
    )
