import math

import pytest
from distill_samples import kl, mean_over_rows, randn, softmax, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.distill import StandardisedSoftLabels

NAME = "standardised soft labels"


def standardised(row: list[float]) -> list[float]:
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((z - mean) ** 2 for z in row) / len(row))
    return [(z - mean) / deviation for z in row]


def test_a_hand_worked_value() -> None:
    # Two classes standardise to (1, -1) or (-1, 1): KL(softmax(1, -1) || softmax(-1, 1)) = 2 tanh(1).
    found = terms(StandardisedSoftLabels(temperature=1), [[3.0, 8.0]], [[9.0, 2.0]])
    assert found[NAME] == pytest.approx(2 * math.tanh(1))


@given(classes=st.integers(2, 6), temperature=st.floats(0.5, 10), seed=st.integers(0, 10**6))
def test_the_loss_is_the_reference_s(classes: int, temperature: float, seed: int) -> None:
    student, teacher = randn(3, classes, seed=seed), randn(3, classes, seed=seed + 1)
    expected = mean_over_rows(
        lambda s, t: kl(softmax(standardised(t), temperature), softmax(standardised(s), temperature)), student, teacher
    )
    found = terms(StandardisedSoftLabels(temperature=temperature), student.double(), teacher.double())
    assert found[NAME] == pytest.approx(temperature**2 * expected, rel=1e-5, abs=1e-9)


@given(factor=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_neither_a_positive_factor_nor_a_shift_changes_the_loss(factor: float, shift: float) -> None:
    student, teacher = randn(3, 5).double(), randn(3, 5, seed=1).double()
    moved = terms(StandardisedSoftLabels(), factor * student + shift, teacher)
    assert moved[NAME] == pytest.approx(terms(StandardisedSoftLabels(), student, teacher)[NAME], rel=1e-4)
