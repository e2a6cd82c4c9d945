import torch

from laconic.distill import Pair, SameFeatures


def test_a_hand_worked_value() -> None:
    pair = Pair(student=torch.tensor([[1.0, 2.0], [0.0, 0.0]]), teacher=torch.tensor([[3.0, 2.0], [0.0, 4.0]]))
    assert SameFeatures().distance(pair) == (4 + 16) / 4


def test_positions_that_do_not_count_are_left_out_of_loss_and_gradient() -> None:
    student = torch.tensor([[[1.0, 1.0], [9.0, 9.0]]], requires_grad=True)
    loss = SameFeatures().distance(
        Pair(student=student, teacher=torch.zeros(1, 2, 2), mask=torch.tensor([[True, False]]))
    )
    loss.backward()
    assert loss == 1
    assert student.grad.tolist() == [[[1, 1], [0, 0]]]


def test_a_larger_image_is_averaged_down_to_the_smaller() -> None:
    student, teacher = torch.arange(4.0).view(1, 1, 2, 2), torch.full((1, 1, 1, 1), 3.5)
    assert SameFeatures().distance(Pair(student=student, teacher=teacher)) == 4
    assert SameFeatures().distance(Pair(student=teacher, teacher=student)) == 4
