import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import cross_entropy
from laconic.distill import Lesson, SoftLabels


def reference_nats(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """T^2 * KL averaged over the rows of two `[n, c]` tensors, in plain float64 Python."""
    total = 0.0
    for s_row, t_row in zip(student.double().tolist(), teacher.double().tolist(), strict=True):
        s_sum, t_sum = (sum(math.exp(z / temperature) for z in row) for row in (s_row, t_row))
        for s, t in zip(s_row, t_row, strict=True):
            log_p, log_q = t / temperature - math.log(t_sum), s / temperature - math.log(s_sum)
            total += math.exp(log_p) * (log_p - log_q)
    return temperature**2 * total / len(student)


def logits(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def soft(student: Tensor, teacher: Tensor, temperature: float = 2.0, **options: object) -> Tensor:
    return SoftLabels(temperature=temperature).terms(Lesson(student=student, teacher=teacher, **options))["soft labels"]


def test_a_hand_worked_value() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2).
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    torch.testing.assert_close(soft(student, teacher, 1.0).item(), expected, rtol=1e-6, atol=0)
    # At T = 2 the same probabilities come from doubled logits, and the loss has the factor 4.
    torch.testing.assert_close(soft(2 * student, 2 * teacher, 2.0).item(), 4 * expected, rtol=1e-6, atol=0)


@given(rows=st.integers(1, 5), classes=st.integers(2, 6), temperature=st.floats(0.5, 20.0), seed=st.integers(0, 10**6))
def test_the_loss_is_the_reference_s(rows: int, classes: int, temperature: float, seed: int) -> None:
    student, teacher = logits(rows, classes, seed=seed), logits(rows, classes, seed=seed + 1)
    expected = reference_nats(student, teacher, temperature)
    slack = 64 * torch.finfo(torch.float32).eps * temperature**2
    assert soft(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5, abs=slack)


@given(temperature=st.floats(300.0, 3000.0), seed=st.integers(0, 10**6))
def test_for_a_large_temperature_the_gradient_does_not_depend_on_it(temperature: float, seed: int) -> None:
    teacher = logits(4, 5, seed=seed).double()
    student = logits(4, 5, seed=seed + 1).double().requires_grad_()
    (gradient,) = torch.autograd.grad(soft(student, teacher, temperature), student)
    difference = student.detach() - teacher
    limit = (difference - difference.mean(-1, keepdim=True)) / 5 / 4
    torch.testing.assert_close(gradient, limit, rtol=0, atol=30 / temperature * limit.abs().max().item())


@given(temperature=st.floats(0.5, 20.0), shift=st.floats(-50.0, 50.0))
def test_a_constant_added_to_all_logits_changes_nothing(temperature: float, shift: float) -> None:
    student, teacher = logits(3, 4).double(), logits(3, 4, seed=1).double()
    torch.testing.assert_close(soft(student + shift, teacher, temperature), soft(student, teacher, temperature))


def test_a_student_that_answers_like_the_teacher_has_no_loss_and_no_gradient() -> None:
    teacher = logits(3, 4)
    student = teacher.clone().requires_grad_()
    loss = soft(student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert abs(loss.item()) < 1e-6
    assert gradient.abs().max() < 1e-6


def test_classes_in_the_second_dimension_give_the_same_as_classes_last() -> None:
    student, teacher = logits(2, 7, 4), logits(2, 7, 4, seed=1)
    labels = torch.zeros(2, 7, dtype=torch.long)
    last = soft(student, teacher, labels=labels)
    assert soft(student.movedim(-1, 1), teacher.movedim(-1, 1), labels=labels) == last
    assert last.item() == pytest.approx(reference_nats(student.flatten(0, 1), teacher.flatten(0, 1), 2.0), rel=1e-5)


def test_positions_labelled_minus_100_are_left_out_of_loss_and_gradient() -> None:
    student, teacher = logits(2, 3, 4).requires_grad_(), logits(2, 3, 4, seed=1)
    labels = torch.tensor([[0, -100, 2], [-100, -100, 1]])
    loss = soft(student, teacher, labels=labels)
    (gradient,) = torch.autograd.grad(loss, student)
    counted = labels != -100
    assert loss.item() == pytest.approx(reference_nats(student[counted], teacher[counted], 2.0), rel=1e-5)
    assert gradient[~counted].abs().max() == 0
    assert gradient[counted].abs().min() > 0


def test_a_batch_without_one_counted_position_has_no_soft_loss() -> None:
    assert soft(logits(2, 3), logits(2, 3, seed=1), labels=torch.full((2,), -100)) == 0


def test_the_hard_weight_mixes_the_task_s_criterion_in() -> None:
    student, teacher, labels = logits(5, 3), logits(5, 3, seed=1), torch.tensor([0, 1, 2, 0, 1])
    terms = SoftLabels(temperature=3.0, hard_weight=0.25).terms(Lesson(student=student, teacher=teacher, labels=labels))
    assert terms["soft labels"].item() == pytest.approx(0.75 * reference_nats(student, teacher, 3.0), rel=1e-5)
    assert terms["labels"].item() == pytest.approx(0.25 * functional.cross_entropy(student, labels).item(), rel=1e-6)


def test_the_criterion_is_the_one_of_the_lesson() -> None:
    lesson = Lesson(
        student=logits(2, 3),
        teacher=logits(2, 3),
        labels=torch.tensor([0, 1]),
        criterion=lambda z, y: torch.tensor(8.0),
    )
    assert SoftLabels(hard_weight=0.5).terms(lesson)["labels"] == 4


def test_without_labels_the_soft_term_stands_alone_and_whole() -> None:
    lesson = Lesson(student=logits(2, 3), teacher=logits(2, 3, seed=1))
    assert SoftLabels(hard_weight=0.9).terms(lesson) == SoftLabels().terms(lesson)


def test_half_precision_logits_are_compared_in_float32() -> None:
    student, teacher = logits(4, 6).bfloat16(), logits(4, 6, seed=1).bfloat16()
    assert soft(student, teacher) == soft(student.float(), teacher.float())


def test_the_class_axis_can_be_said_where_no_labels_tell_it() -> None:
    student, teacher = logits(2, 4, 5, 5), logits(2, 4, 5, 5, seed=1)
    with pytest.raises(DataError, match=r"\[2, 4, 5, 5\] without labels.*class_axis=1"):
        soft(student, teacher)
    said = SoftLabels(class_axis=1).terms(Lesson(student=student, teacher=teacher))["soft labels"]
    assert said == soft(student, teacher, labels=torch.zeros(2, 5, 5, dtype=torch.long))


def test_labels_out_of_range_are_one_clear_line() -> None:
    lesson = Lesson(student=logits(2, 3), teacher=logits(2, 3), labels=torch.tensor([0, 7]))
    with pytest.raises(DataError, match="labels from 0 to 7, but the model has 3 classes; expected 0 to 2") as caught:
        SoftLabels(hard_weight=0.5).terms(lesson)
    assert "\n" not in str(caught.value)


def test_different_class_counts_are_refused() -> None:
    with pytest.raises(ModelError, match=r"student answers in shape \[2, 3\], the teacher in \[2, 4\]"):
        Lesson(student=logits(2, 3), teacher=logits(2, 4), criterion=cross_entropy)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"SoftLabels\.temperature: got"):
        SoftLabels(temperature=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_hard_weight_that_is_no_share_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"SoftLabels\.hard_weight: got"):
        SoftLabels(hard_weight=value)
