"""VirtualTeacher, NoisyTeacher and ClassConsistency: teachers that are made up, disturbed, or the student itself."""

import math
from typing import Any

import pytest
import torch
from distill_samples import kl, randn, softmax
from torch import nn

from laconic.core.errors import DataError, UsageError
from laconic.core.task import Task
from laconic.distill import ClassConsistency, Labels, Lesson, NoisyTeacher, SameLogits, SoftLabels, Sum, VirtualTeacher
from laconic.train import SGD, Training, train, without_teacher


def term(loss: Any, student: torch.Tensor, labels: torch.Tensor | None = None, **options: Any) -> float:
    lesson = Lesson(student=student, teacher=options.get("teacher", student), labels=labels)
    (found,) = loss.terms(lesson).values()
    return float(found.detach())


def test_the_virtual_teacher_is_softened_like_any_other() -> None:
    student, labels = randn(3, 4), torch.tensor([2, 0, -100])
    expected = 0.0
    for row, label in zip(student[:2].tolist(), labels[:2].tolist(), strict=True):
        made_up = [math.log(0.7 if c == label else 0.1) for c in range(4)]
        expected += 9 * kl(softmax(made_up, 3.0), softmax(row, 3.0)) / 2
    loss = VirtualTeacher(loss=SoftLabels(temperature=3), sure=0.7)
    assert term(loss, student, labels) == pytest.approx(expected, rel=1e-5)
    second = VirtualTeacher(loss=SoftLabels(temperature=3), sure=0.7, class_axis=1)
    images, marks = randn(2, 4, 3), torch.tensor([[0, 1, 2], [3, -100, 1]])
    assert term(second, images, marks) == pytest.approx(term(loss, images.mT, marks), rel=1e-6)


def test_noise_is_a_factor_on_the_logits_of_some_samples_and_right_on_average() -> None:
    teacher = torch.full((4000, 3), 2.0)
    lesson = Lesson(student=torch.zeros_like(teacher), teacher=teacher)
    heard: list[torch.Tensor] = []

    class Heard(SameLogits):
        def terms(self, lesson: Lesson) -> dict[str, torch.Tensor]:
            heard.append(lesson.teacher)
            return {}

    torch.manual_seed(0)
    NoisyTeacher(loss=Heard(), deviation=0.5, share=0.25).terms(lesson)
    disturbed = (heard[0] != 2).any(1)
    assert disturbed.float().mean() == pytest.approx(0.25, abs=0.03)
    assert heard[0].mean() == pytest.approx(2, abs=0.05)
    assert heard[0][disturbed].std() == pytest.approx(1, abs=0.05)  # 0.5 of 2.


def test_class_consistency_compares_with_the_next_sample_of_the_class() -> None:
    student, labels = randn(5, 3), torch.tensor([1, 0, 1, 1, -100])
    rows = student.tolist()
    pairs = [(0, 2), (2, 3), (3, 0)]  # The second sample is alone.
    expected = sum(4 * kl(softmax(rows[other], 2.0), softmax(rows[one], 2.0)) for one, other in pairs) / 3
    assert term(ClassConsistency(temperature=2), student, labels) == pytest.approx(expected, rel=1e-5)
    alike = student[labels.clamp(min=0)].requires_grad_()
    ClassConsistency().terms(Lesson(student=alike, teacher=alike, labels=labels))["class consistency"].backward()
    assert alike.grad.abs().max() < 1e-6


def test_batches_in_which_all_are_alone_have_no_loss() -> None:
    assert term(ClassConsistency(), randn(2, 3), torch.tensor([0, 1])) == 0
    assert term(ClassConsistency(), randn(2, 3), torch.tensor([-100, -100])) == 0


def test_losses_without_a_teacher_train_and_ask_nobody() -> None:
    x, losses = randn(12, 4), []
    task = Task(train=[(x, torch.arange(12) % 3)], evaluate=[x])
    loss = Sum(losses=(Labels(), ClassConsistency(), VirtualTeacher(loss=SoftLabels(temperature=4))))
    torch.manual_seed(0)
    objective = without_teacher(task, loss)
    training = Training(steps=20, optimizer=SGD(learning_rate=0.1))
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    train(model, task, training, objective=objective, progress=lambda step, total, value: losses.append(value))
    assert objective.teachers == ()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: VirtualTeacher(loss=SoftLabels(), sure=1), r"VirtualTeacher\.sure: got 1"),
        (lambda: NoisyTeacher(loss=SoftLabels(), deviation=-1), r"NoisyTeacher\.deviation: got -1"),
        (lambda: NoisyTeacher(loss=SoftLabels(), share=2), r"NoisyTeacher\.share: got 2"),
        (lambda: ClassConsistency(temperature=0), r"ClassConsistency\.temperature: got 0"),
        (lambda: term(VirtualTeacher(loss=SoftLabels(), sure=0.2), randn(1, 3), torch.tensor([0])), "more than chance"),
    ],
)
def test_values_outside_their_domain_are_refused(build: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        build()


def test_labels_that_do_not_fit_are_refused() -> None:
    for loss in (VirtualTeacher(loss=SoftLabels()), ClassConsistency()):
        with pytest.raises(DataError, match=rf"{type(loss).__name__}: got labels None"):
            term(loss, randn(2, 3))
