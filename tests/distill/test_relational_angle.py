from itertools import permutations

import pytest
import torch
from distill_samples import distance, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity, smooth_l1_loss

from laconic.distill import Pair, RelationalAngle


def cosines(features: Tensor) -> list[float]:
    rows = features.double().flatten(1)
    found = []
    for j in range(len(rows)):
        for i in range(len(rows)):
            for k in range(len(rows)):
                if len({i, j, k}) == 3:
                    one, other = rows[i] - rows[j], rows[k] - rows[j]
                    found.append(float(one @ other / (one.norm() * other.norm())))
    return found


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def test_a_hand_worked_value() -> None:
    # An equilateral triangle has cosines 1/2; on a line they are 1, -1, 1 (at the first, the middle, the last point).
    triangle = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    expected = (0.5**2 / 2 * 2 + (1.5 - 0.5)) / 3
    assert distance(RelationalAngle(), [[0.0], [1.0], [2.0]], triangle) == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(seed: int) -> None:
    student, teacher = randn(4, 2, 2, seed=seed), randn(4, 3, seed=seed + 1)
    errors = [huber(a - b) for a, b in zip(cosines(student), cosines(teacher), strict=True)]
    assert distance(RelationalAngle(), student, teacher) == pytest.approx(sum(errors) / len(errors), rel=1e-9)


def test_rotation_shift_and_factor_change_nothing() -> None:
    student, teacher = randn(5, 4).double(), randn(5, 4, seed=1)
    moved = 7 * student @ rotation(4) + 3
    assert distance(RelationalAngle(), moved, teacher) == pytest.approx(distance(RelationalAngle(), student, teacher))


def test_more_features_than_samples_are_compared_in_the_span_of_the_samples() -> None:
    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        total, count = torch.zeros((), dtype=torch.float64), 0
        for i, j, k in permutations(range(len(student)), 3):
            ours, theirs = (cosine_similarity(x[i] - x[j], x[k] - x[j], dim=0) for x in (student, teacher))
            total, count = total + smooth_l1_loss(ours, theirs), count + 1
        return total / count

    student, teacher = randn(5, 40).double().requires_grad_(), randn(5, 30, seed=1).double()
    found, expected = RelationalAngle().distance(Pair(student=student, teacher=teacher)), loss(student, teacher)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))
