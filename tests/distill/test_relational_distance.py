import pytest
from distill_samples import distance, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.distill import RelationalDistance


def relative(features: Tensor) -> list[float]:
    rows = features.double().flatten(1).tolist()
    apart = [
        sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)) ** 0.5
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j
    ]
    return [d / (sum(apart) / len(apart)) for d in apart]


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def test_a_hand_worked_value() -> None:
    # On a line at 0, 1, 2: distances 1, 1, 2 over 4/3; an equilateral triangle: all 1.
    triangle = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    expected = ((0.75 - 1) ** 2 / 2 * 2 + (1.5 - 1) ** 2 / 2) / 3
    assert distance(RelationalDistance(), [[0.0], [1.0], [2.0]], triangle) == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(seed: int) -> None:
    student, teacher = randn(4, 2, 2, seed=seed), randn(4, 1, seed=seed + 1)
    errors = [huber(a - b) for a, b in zip(relative(student), relative(teacher), strict=True)]
    assert distance(RelationalDistance(), student, teacher) == pytest.approx(sum(errors) / len(errors), rel=1e-9)


def test_rotation_shift_and_factor_change_nothing() -> None:
    student, teacher = randn(5, 4).double(), randn(5, 4, seed=1)
    moved = 7 * student @ rotation(4) + 3
    assert distance(RelationalDistance(), moved, teacher) == pytest.approx(
        distance(RelationalDistance(), student, teacher)
    )
