"""What every loss on answers promises."""

import pytest
import torch
from distill_samples import randn
from torch import Tensor

from laconic.core.errors import UsageError
from laconic.distill import (
    ANSWERS,
    BinarySoftLabels,
    Decoupled,
    Dist,
    DistillationLoss,
    Lesson,
    SquaredError,
    UniversalLogits,
)

VALUES = (SquaredError, BinarySoftLabels)  # Their entries stand each for itself: there is no class dimension.
# Vocabularies differ, so classes are always last.
CLASSES = tuple(kind for kind in ANSWERS if kind not in (*VALUES, UniversalLogits))


def total(loss: DistillationLoss, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    if labels is None and isinstance(loss, Decoupled):
        labels = torch.zeros(len(student), dtype=torch.long)
    lesson = Lesson(student=student, teacher=teacher, labels=labels)
    return sum(loss.terms(lesson).values(), torch.zeros(()))


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_student_that_answers_like_the_teacher_has_no_loss_and_no_gradient(kind: type[DistillationLoss]) -> None:
    teacher = randn(4, 5)
    student = teacher.clone().requires_grad_()
    loss = total(kind(), student, teacher)
    loss.backward()
    assert abs(loss.item()) < 2e-5
    assert student.grad.abs().max() < 1e-5


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_another_student_has_a_loss_a_finite_gradient_and_gives_none_to_the_teacher(
    kind: type[DistillationLoss], scale: float
) -> None:
    student, teacher = randn(4, 5, scale=scale).requires_grad_(), randn(4, 5, seed=1, scale=scale).requires_grad_()
    loss = total(kind(), student, teacher)
    loss.backward()
    assert loss > 0
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0 or scale > 1
    assert teacher.grad is None


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(kind: type[DistillationLoss], dtype: torch.dtype) -> None:
    student, teacher = randn(4, 5).to(dtype), randn(4, 5, seed=1).to(dtype)
    assert total(kind(), student, teacher) == total(kind(), student.float(), teacher.float())


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_batch_of_one_is_defined(kind: type[DistillationLoss]) -> None:
    student = randn(1, 5).requires_grad_()
    total(kind(), student, randn(1, 5, seed=1)).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize("kind", CLASSES)
def test_positions_labelled_minus_100_get_no_gradient_and_change_nothing(kind: type[DistillationLoss]) -> None:
    student, teacher = randn(2, 3, 5).requires_grad_(), randn(2, 3, 5, seed=1)
    labels = torch.tensor([[0, -100, 2], [-100, -100, 1]])
    counted = labels != -100
    loss = total(kind(), student, teacher, labels)
    loss.backward()
    assert loss.item() == pytest.approx(
        total(kind(), student[counted], teacher[counted], labels[counted]).item(), rel=1e-5
    )
    assert student.grad[~counted].abs().max() == 0
    assert student.grad[counted].abs().min() > 0


@pytest.mark.parametrize("kind", CLASSES)
def test_no_counted_position_is_no_loss(kind: type[DistillationLoss]) -> None:
    student = randn(2, 5).requires_grad_()
    loss = total(kind(), student, randn(2, 5, seed=1), torch.full((2,), -100))
    loss.backward()
    assert student.grad.abs().max() == 0


@pytest.mark.parametrize("kind", CLASSES)
def test_the_class_dimension_may_be_second_or_last(kind: type[DistillationLoss]) -> None:
    student, teacher, labels = randn(2, 3, 5), randn(2, 3, 5, seed=1), torch.zeros(2, 3, dtype=torch.long)
    last = total(kind(), student, teacher, labels)
    torch.testing.assert_close(total(kind(), student.movedim(-1, 1), teacher.movedim(-1, 1), labels), last)
    if kind is not Decoupled:
        torch.testing.assert_close(total(kind(class_axis=-1), student, teacher), last)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind.__name__ != "SameLogits"])
def test_a_constant_added_to_all_logits_changes_nothing(kind: type[DistillationLoss]) -> None:
    student, teacher = randn(4, 5).double(), randn(4, 5, seed=1).double()
    shift = torch.tensor([[-7.0], [0.5], [3.0], [20.0]])
    torch.testing.assert_close(total(kind(), student + shift, teacher), total(kind(), student, teacher))


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_share_of_labels_is_taken_from_the_imitation(kind: type[DistillationLoss]) -> None:
    labels = torch.tensor([0, 1, 2, 0])
    student, teacher = randn(4, 5), randn(4, 5, seed=1)
    lesson = Lesson(student=student, teacher=teacher, labels=labels, criterion=lambda z, y: torch.tensor(8.0))
    whole, mixed = kind().terms(lesson), kind(hard_weight=0.25).terms(lesson)
    assert mixed.pop("labels") == 2
    assert {name: 0.75 * term for name, term in whole.items()} == mixed


@pytest.mark.parametrize("kind", ANSWERS)
def test_values_outside_their_domain_are_refused(kind: type[DistillationLoss]) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.hard_weight: got 1\.5"):
        kind(hard_weight=1.5)
    if hasattr(kind(), "temperature"):
        with pytest.raises(UsageError, match=rf"{kind.__name__}\.temperature: got 0"):
            kind(temperature=0)


def test_dist_is_the_one_that_compares_samples_with_samples() -> None:
    student, teacher = randn(4, 5), randn(4, 5, seed=1)
    for kind in CLASSES:
        alone = [total(kind(), s[None], t[None]).item() for s, t in zip(student, teacher, strict=True)]
        same = total(kind(), student, teacher).item() == pytest.approx(sum(alone) / 4, rel=1e-5)
        assert same == (kind is not Dist)
