import pytest
import torch
from distill_samples import distance

from laconic.core.errors import UsageError
from laconic.distill import ActivationBoundaries, Pair


def test_a_hand_worked_value() -> None:
    student, teacher = [[2.0, 0.5, 0.0, -3.0]], [[3.0, -1.0, 0.1, -9.0]]
    assert distance(ActivationBoundaries(), student, teacher) == pytest.approx((0 + 1.5**2 + 1 + 0) / 4)
    assert distance(ActivationBoundaries(margin=2), student, teacher) == pytest.approx((0 + 2.5**2 + 4 + 0) / 4)


def test_a_student_on_the_teacher_s_side_has_no_loss_and_no_gradient() -> None:
    student = torch.tensor([[1.5, -1.5]], requires_grad=True)
    loss = ActivationBoundaries().distance(Pair(student=student, teacher=torch.tensor([[0.1, -0.1]])))
    loss.backward()
    assert loss == 0
    assert student.grad.abs().max() == 0


def test_positions_that_do_not_count_change_nothing() -> None:
    student, teacher = [[[1.0], [9.0]]], [[[-1.0], [-1.0]]]
    assert distance(ActivationBoundaries(), student, teacher, mask=[[True, False]]) == 4


def test_values_outside_their_domain_are_refused() -> None:
    with pytest.raises(UsageError, match=r"ActivationBoundaries\.margin: got 0"):
        ActivationBoundaries(margin=0)
    with pytest.raises(UsageError, match="the same shape"):
        distance(ActivationBoundaries(), torch.zeros(1, 2), torch.zeros(1, 3))
