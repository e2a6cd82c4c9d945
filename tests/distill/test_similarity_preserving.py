import pytest
from distill_samples import distance, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.distill import SimilarityPreserving


def similarities(features: Tensor) -> list[list[float]]:
    rows = features.double().flatten(1).tolist()
    dots = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    return [[d / sum(e * e for e in row) ** 0.5 for d in row] for row in dots]


def test_a_hand_worked_value() -> None:
    # Orthogonal samples for the student: rows e1, e2; the same sample twice for the teacher: rows (1, 1) / sqrt(2).
    expected = ((1 - 0.5**0.5) ** 2 + 0.5) / 2
    found = distance(SimilarityPreserving(), [[1.0, 0.0], [0.0, 5.0]], [[2.0], [2.0]])
    assert found == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(seed: int) -> None:
    student, teacher = randn(4, 3, 2, seed=seed), randn(4, 7, seed=seed + 1)
    pairs = zip(similarities(student), similarities(teacher), strict=True)
    expected = sum((a - b) ** 2 for s, t in pairs for a, b in zip(s, t, strict=True)) / 16
    assert distance(SimilarityPreserving(), student, teacher) == pytest.approx(expected, rel=1e-9)


def test_neither_a_rotation_nor_a_factor_changes_the_distance() -> None:
    student, teacher = randn(4, 6).double(), randn(4, 6, seed=1)
    moved = 5 * student @ rotation(6)
    assert distance(SimilarityPreserving(), moved, teacher) == pytest.approx(
        distance(SimilarityPreserving(), student, teacher)
    )
