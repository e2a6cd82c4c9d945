import pytest
import torch
from distill_samples import randn, softmax, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.distill import Dist


def pearson(a: list[float], b: list[float]) -> float:
    a, b = ([x - sum(v) / len(v) for x in v] for v in (a, b))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return float(dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)


def test_a_hand_worked_value() -> None:
    # Three classes in the order 1 2 3 against 1 3 2, at a temperature so high that softmax is a straight line: r = 1/2.
    student, teacher = [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]]
    found = terms(Dist(temperature=1e4), torch.tensor(student).double(), torch.tensor(teacher).double())
    assert found["between classes"] == pytest.approx(1e8 * 0.5, rel=1e-3)
    # Class 1 rises alike in both, class 2 stays in the student, class 3 stays in the teacher: r = 1, 0, 0.
    assert found["between samples"] == pytest.approx(1e8 * 2 / 3, rel=1e-3)


@given(rows=st.integers(2, 5), classes=st.integers(2, 6), temperature=st.floats(0.5, 8), seed=st.integers(0, 10**6))
def test_the_terms_are_the_reference_s(rows: int, classes: int, temperature: float, seed: int) -> None:
    student, teacher = randn(rows, classes, seed=seed, scale=1.0), randn(rows, classes, seed=seed + 1, scale=1.0)
    s, t = ([softmax(row, temperature) for row in x.double().tolist()] for x in (student, teacher))
    within = sum(1 - pearson(a, b) for a, b in zip(s, t, strict=True)) / rows
    columns = zip(zip(*s, strict=True), zip(*t, strict=True), strict=True)
    across = sum(1 - pearson(list(a), list(b)) for a, b in columns) / classes
    loss = Dist(temperature=temperature, class_weight=2.0, sample_weight=0.5)
    found = terms(loss, student.double(), teacher.double())
    assert found["between classes"] == pytest.approx(2 * temperature**2 * within, rel=1e-6, abs=1e-9)
    assert found["between samples"] == pytest.approx(0.5 * temperature**2 * across, rel=1e-6, abs=1e-9)


def test_positions_that_do_not_count_change_neither_term() -> None:
    student, teacher = randn(4, 3), randn(4, 3, seed=1)
    whole = terms(Dist(), student[:2], teacher[:2], [0, 1])
    assert terms(Dist(), student, teacher, [0, 1, -100, -100]) == pytest.approx(whole, rel=1e-5)


def test_one_position_alone_has_nothing_to_correlate_with() -> None:
    assert terms(Dist(), randn(1, 3), randn(1, 3, seed=1))["between samples"] == 0
