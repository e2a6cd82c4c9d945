import math

import pytest
import torch
from distill_samples import kl, mean_over_rows, randn, softmax, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import DataError, UsageError
from laconic.distill import Decoupled, Lesson, SoftLabels


def reference(student: list[float], teacher: list[float], label: float, temperature: float) -> tuple[float, float]:
    s, t, y = softmax(student, temperature), softmax(teacher, temperature), int(label)
    right = kl([t[y], 1 - t[y]], [s[y], 1 - s[y]])
    rest = [[p for c, p in enumerate(row) if c != y] for row in (t, s)]
    others = kl(*([p / sum(row) for p in row] for row in rest))
    return temperature**2 * right, temperature**2 * others


def test_a_hand_worked_value() -> None:
    # Teacher (1/2, 3/8, 1/8), student (1/4, 1/2, 1/4): b = (1/2, 1/2) and (1/4, 3/4); q = (3/4, 1/4) and (2/3, 1/3).
    teacher, student = [[math.log(4), math.log(3), 0.0]], [[0.0, math.log(2), 0.0]]
    found = terms(Decoupled(temperature=1, other_weight=1), student, teacher, [0])
    assert found["right class"] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert found["other classes"] == pytest.approx(0.75 * math.log(9 / 8) + 0.25 * math.log(3 / 4), rel=1e-5)


@given(classes=st.integers(2, 6), temperature=st.floats(0.5, 20.0), seed=st.integers(0, 10**6))
def test_the_terms_are_the_reference_s(classes: int, temperature: float, seed: int) -> None:
    student, teacher = randn(4, classes, seed=seed), randn(4, classes, seed=seed + 1)
    labels = torch.randint(0, classes, (4,), generator=torch.Generator().manual_seed(seed))
    loss = Decoupled(temperature=temperature, target_weight=0.5, other_weight=3.0)
    found = terms(loss, student.double(), teacher.double(), labels)
    right = mean_over_rows(lambda s, t, y: reference(s, t, y, temperature)[0], student, teacher, labels)
    others = mean_over_rows(lambda s, t, y: reference(s, t, y, temperature)[1], student, teacher, labels)
    assert found["right class"] == pytest.approx(0.5 * right, rel=1e-9, abs=1e-12)
    assert found["other classes"] == pytest.approx(3 * others, rel=1e-9, abs=1e-12)


@given(temperature=st.floats(0.5, 20.0), seed=st.integers(0, 10**6))
def test_soft_labels_are_both_parts_with_the_other_classes_weighed_by_their_mass(temperature: float, seed: int) -> None:
    student, teacher = randn(1, 5, seed=seed).double(), randn(1, 5, seed=seed + 1).double()
    mass = 1 - softmax(teacher[0].tolist(), temperature)[2]
    parts = terms(Decoupled(temperature=temperature, other_weight=1), student, teacher, [2])
    whole = terms(SoftLabels(temperature=temperature), student, teacher)["soft labels"]
    assert parts["right class"] + mass * parts["other classes"] == pytest.approx(whole, rel=1e-9, abs=1e-12)


def test_a_teacher_that_is_all_but_certain_gives_a_finite_gradient() -> None:
    student = torch.zeros(1, 3, requires_grad=True)
    lesson = Lesson(student=student, teacher=torch.tensor([[200.0, 0.0, 1.0]]), labels=torch.tensor([0]))
    sum(Decoupled(temperature=1).terms(lesson).values()).backward()
    assert student.grad.isfinite().all()
    assert student.grad[0, 1] > 0 > student.grad[0, 2]


def test_it_needs_labels_in_range() -> None:
    with pytest.raises(DataError, match="a batch has no labels, and this loss needs them"):
        terms(Decoupled(), [[0.0, 1.0]], [[0.0, 1.0]])
    with pytest.raises(DataError, match="labels from 2 to 2, but the model has 2 classes"):
        terms(Decoupled(), [[0.0, 1.0]], [[0.0, 1.0]], [2])


@pytest.mark.parametrize("name", ["target_weight", "other_weight"])
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"Decoupled\.{name}: got -1"):
        Decoupled(**{name: -1})
