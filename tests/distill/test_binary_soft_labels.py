import math

import pytest
import torch
from distill_samples import randn, terms
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from laconic.distill import BinarySoftLabels, Lesson, SoftLabels

NAME = "binary soft labels"


def test_a_hand_worked_value() -> None:
    # Teacher says 3/4 and 1/2, student 1/2 and 1/2: the mean of KL = 3/4 ln(3/2) + 1/4 ln(1/2) and 0.
    found = terms(BinarySoftLabels(temperature=1), [[0.0, 0.0]], [[math.log(3), 0.0]])
    assert found[NAME] == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2)


@given(temperature=st.floats(0.5, 20), seed=st.integers(0, 10**6))
def test_each_entry_is_soft_labels_of_two_classes(temperature: float, seed: int) -> None:
    student, teacher = randn(3, 4, seed=seed).double(), randn(3, 4, seed=seed + 1).double()
    pairs = [torch.stack([x.flatten(), torch.zeros(12)], dim=-1) for x in (student, teacher)]
    expected = terms(SoftLabels(temperature=temperature), *pairs)["soft labels"]
    assert terms(BinarySoftLabels(temperature=temperature), student, teacher)[NAME] == pytest.approx(
        expected, abs=1e-12
    )


def test_entries_labelled_minus_100_are_left_out_of_loss_and_gradient() -> None:
    student, teacher = randn(2, 3).requires_grad_(), randn(2, 3, seed=1)
    labels = torch.tensor([[1.0, -100, 0], [0, 1, -100]])
    loss = BinarySoftLabels().terms(Lesson(student=student, teacher=teacher, labels=labels))[NAME]
    loss.backward()
    left = labels != -100
    assert loss.item() == pytest.approx(
        terms(BinarySoftLabels(), student.detach()[left], teacher[left])[NAME], rel=1e-6
    )
    assert ((student.grad != 0) == left).all()


def test_the_task_s_criterion_is_mixed_in() -> None:
    student, labels = randn(2, 3), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    lesson = Lesson(student=student, teacher=student, labels=labels, criterion=binary_cross_entropy_with_logits)
    found = BinarySoftLabels(hard_weight=0.5).terms(lesson)["labels"]
    assert found == binary_cross_entropy_with_logits(student, labels) / 2


def test_extreme_logits_stay_finite() -> None:
    assert math.isfinite(terms(BinarySoftLabels(temperature=1), [[-500.0]], [[500.0]])[NAME])
