import itertools
import math

import pytest
import torch
from distill_samples import kl, mean_over_rows, randn, softmax, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.distill import Lesson, SoftLabels, TopSoftLabels

NAME = "top soft labels"


def reference(student: list[float], teacher: list[float], k: int, temperature: float) -> float:
    s, t = softmax(student, temperature), softmax(teacher, temperature)
    top = sorted(range(len(t)), key=lambda c: -t[c])[:k]
    merged = [[row[c] for c in top] + [1 - sum(row[c] for c in top)] for row in (t, s)]
    return kl(*merged)


def test_a_hand_worked_value() -> None:
    # Teacher (1/2, 1/4, 1/4), student (1/4, 1/4, 1/2): with k = 1 (1/2, 1/2) against (1/4, 3/4).
    teacher, student = [[math.log(2), 0.0, 0.0]], [[0.0, 0.0, math.log(2)]]
    found = terms(TopSoftLabels(k=1), student, teacher)
    assert found[NAME] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


@given(k=st.integers(1, 5), temperature=st.floats(0.5, 8), seed=st.integers(0, 10**6))
def test_the_loss_is_the_reference_s(k: int, temperature: float, seed: int) -> None:
    student, teacher = randn(3, 7, seed=seed).double(), randn(3, 7, seed=seed + 1).double()
    expected = mean_over_rows(lambda s, t: reference(s, t, k, temperature), student, teacher)
    found = terms(TopSoftLabels(k=k, temperature=temperature), student, teacher)
    assert found[NAME] == pytest.approx(temperature**2 * expected, rel=1e-7, abs=1e-12)


@given(seed=st.integers(0, 10**6))
def test_it_grows_with_k_up_to_soft_labels(seed: int) -> None:
    student, teacher = randn(2, 6, seed=seed).double(), randn(2, 6, seed=seed + 1).double()
    found = [terms(TopSoftLabels(k=k), student, teacher)[NAME] for k in range(1, 9)]
    whole = terms(SoftLabels(temperature=1), student, teacher)["soft labels"]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(found))
    assert found[4:] == pytest.approx([whole] * 4)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_a_certain_teacher_gives_a_finite_gradient(k: int) -> None:
    student = torch.zeros(1, 3, requires_grad=True)
    lesson = Lesson(student=student, teacher=torch.tensor([[300.0, 0.0, 0.0]]))
    TopSoftLabels(k=k).terms(lesson)[NAME].backward()
    assert student.grad.isfinite().all()
    assert student.grad[0, 0] < 0


@pytest.mark.parametrize("k", [0, 1.5])
def test_a_k_that_is_no_positive_whole_number_is_refused(k: float) -> None:
    with pytest.raises(UsageError, match=r"TopSoftLabels\.k: got"):
        TopSoftLabels(k=k)
