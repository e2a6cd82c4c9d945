import pytest
import torch
from distill_samples import randn
from torch import nn

from laconic.core.errors import DataError, ModelError
from laconic.core.task import Task
from laconic.distill import Labels, Lesson, SoftLabels, Sum, UniversalLogits, taking
from laconic.train import SGD, Training, distill


def loss(student, teacher, labels=None, teacher_labels=None, **options):
    lesson = Lesson(student=student, teacher=teacher, labels=labels, teacher_labels=teacher_labels, aligned=False)
    return UniversalLogits(**options).terms(lesson)["sorted probabilities"]


def test_a_hand_worked_value():
    # Teacher sorted (0.7, 0.2, 0.1), student (0.6, 0.4) and nothing: 0.1 + 0.2 + 0.1.
    teacher, student = torch.tensor([[0.2, 0.7, 0.1]]).log(), torch.tensor([[0.4, 0.6]]).log()
    assert loss(student, teacher).item() == pytest.approx(0.4)


def test_the_order_of_the_classes_changes_nothing():
    student, teacher = randn(2, 3, 5), randn(2, 3, 7, seed=1)
    torch.testing.assert_close(loss(student[..., torch.randperm(5)], teacher), loss(student, teacher))


def test_positions_that_count_are_compared_in_their_order_and_the_rest_left_out():
    student, teacher = randn(1, 4, 3), randn(1, 3, 5, seed=1)
    labels, theirs = torch.tensor([[-100, 0, -100, 0]]), torch.tensor([[0, 0, 0]])
    expected = loss(student[:, [1, 3]], teacher[:, :2])
    torch.testing.assert_close(loss(student, teacher, labels, theirs), expected)
    torch.testing.assert_close(loss(student, teacher, labels), expected)
    late = torch.tensor([[-100, -100, 0]])
    torch.testing.assert_close(loss(student, teacher, labels, late), loss(student[:, [1]], teacher[:, [2]]))


def test_nothing_that_counts_is_no_loss_and_gives_no_gradient():
    student = randn(1, 2, 3).requires_grad_()
    loss(student, randn(1, 2, 5), torch.full((1, 2), -100)).backward()
    assert student.grad.abs().max() == 0


def test_answers_and_labels_of_the_wrong_shape_are_refused():
    with pytest.raises(DataError, match=r"expected \[samples, positions, classes\]"):
        loss(randn(2, 3, 4, 5), randn(2, 3, 4, 5))
    with pytest.raises(DataError, match="one label for each"):
        loss(randn(2, 3, 4), randn(2, 3, 4), torch.zeros(2, 2))


class Speaker(nn.Module):
    def __init__(self, tokens, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(tokens, tokens)

    def forward(self, input_ids):
        return self.table(input_ids)


def test_a_student_learns_from_a_teacher_with_another_vocabulary_and_other_positions():
    batch = {
        "input_ids": torch.tensor([[0, 1, 2]]), "labels": torch.tensor([[-100, 2, 0]]),
        "teacher_input_ids": torch.tensor([[4, 3, 2, 1]]), "teacher_labels": torch.tensor([[-100, -100, 0, 0]]),
    }  # fmt: skip
    task = Task(train=[batch], evaluate=[batch], call=taking("input_ids"))
    theirs = Task(evaluate=[batch], call=taking(input_ids="teacher_input_ids"))
    teacher, student = Speaker(6, 0), Speaker(3, 1)
    before = student.table.weight.detach().clone()
    training = Training(steps=200, optimizer=SGD(learning_rate=0.3))
    distill(teacher, student, task, loss=Sum(losses=(UniversalLogits(),)), training=training, teacher_task=theirs)
    with torch.no_grad():
        said = UniversalLogits().terms(
            Lesson(student=student(batch["input_ids"]), teacher=teacher(batch["teacher_input_ids"])[:, 2:],
                   labels=batch["labels"], aligned=False)
        )["sorted probabilities"]  # fmt: skip
        # Three tokens cannot share what the teacher gives to its last three: that much, twice, is left.
        left = 2 * teacher.table.weight[[2, 1]].softmax(-1).sort(-1).values[:, :3].sum(-1).mean()
    assert said.item() == pytest.approx(left.item(), abs=0.01)
    assert torch.equal(student.table.weight[0], before[0])


def test_a_loss_that_compares_classes_still_refuses_another_vocabulary():
    ids = torch.zeros(1, 2, dtype=torch.long)
    task = Task(train=[(ids, ids)], evaluate=[(ids, ids)])
    for loss in (SoftLabels(), Sum(losses=(UniversalLogits(), SoftLabels()))):
        with pytest.raises(ModelError, match="expected the same"):
            distill(Speaker(6, 0), Speaker(3, 1), task, loss=loss, training=Training(steps=1))
    distill(Speaker(6, 0), Speaker(3, 1), task, loss=Labels(), training=Training(steps=1))


def test_an_input_that_the_batch_lacks_is_named():
    ids = torch.zeros(1, 2, dtype=torch.long)
    task = Task(train=[{"ids": ids}], evaluate=[{"ids": ids}], call=taking(input_ids="id"))
    with pytest.raises(DataError, match="no input 'id'; its named inputs: ids"):
        distill(Speaker(3, 0), Speaker(3, 1), task, loss=UniversalLogits(), training=Training(steps=1))
