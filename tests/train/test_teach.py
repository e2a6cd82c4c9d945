import pytest
import torch
from torch import nn
from training_samples import data, plain_network, same_weights, task_of

from laconic.core.errors import ModelError
from laconic.core.task import Task
from laconic.distill import SoftLabels, SquaredError
from laconic.train import Training, distill, distillation, train
from laconic.train.teach import default_loss


def test_one_call_is_the_loop_with_the_default_loss() -> None:
    task, teacher = task_of([x for x, _ in data()]), plain_network(1)
    student = distill(teacher, plain_network(2), task, epochs=3)
    objective = distillation(teacher, task, SoftLabels(temperature=2))
    expected = train(plain_network(2), task, Training(epochs=3), objective=objective).model
    assert same_weights(student, expected)
    assert not same_weights(student, plain_network(2))


def test_the_default_loss_follows_the_kind_of_task() -> None:
    x = torch.zeros(2, 1)
    assert default_loss(Task(evaluate=[(x, x)], metric="mse")) == SquaredError()
    assert default_loss(task_of(data())) == SoftLabels(temperature=2)


def test_a_student_with_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"student answers in shape \[8, 4\], the teacher in \[8, 3\]"):
        distill(plain_network(1), nn.Linear(6, 4), task_of(data()), epochs=1)
