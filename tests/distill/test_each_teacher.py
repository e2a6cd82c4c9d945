import math

import pytest
import torch
from distill_samples import kl, randn, softmax
from torch import Tensor, nn

from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import Task
from laconic.distill import EachTeacher, Ensemble, Lesson, SameLogits, SoftLabels
from laconic.train import SGD, Training, distill


def terms(loss: EachTeacher, student: Tensor, *teachers: Tensor, labels: Tensor | None = None) -> dict[str, float]:
    lesson = Lesson(student=student, teacher=torch.stack(teachers, dim=1), labels=labels, aligned=False)
    return {name: term.item() for name, term in loss.terms(lesson).items()}


@pytest.mark.parametrize("by", ["entropy", "confidence"])
def test_the_teacher_is_the_mixture_that_the_formula_gives(by: str) -> None:
    student, teachers, labels = randn(4, 3), [randn(4, 3, seed=k) for k in (1, 2, 3)], torch.tensor([0, 2, 1, 1])
    expected = 0.0
    for i in range(4):
        rows = [t[i].tolist() for t in teachers]
        if by == "entropy":
            raised = [math.exp(sum(p * math.log(p) for p in softmax(row))) for row in rows]
            weights = [r / sum(raised) for r in raised]
        else:
            inverse = [1 / softmax(row)[int(labels[i])] for row in rows]  # exp(cross-entropy)
            weights = [(1 - r / sum(inverse)) / 2 for r in inverse]
        soft = [softmax(row, 2.0) for row in rows]
        mixed = [sum(w * p[c] for w, p in zip(weights, soft, strict=True)) for c in range(3)]
        expected += 4 * kl(mixed, softmax(student[i].tolist(), 2.0)) / 4
    loss = EachTeacher(loss=SoftLabels(temperature=2), by=by, temperature=2)
    assert terms(loss, student, *teachers, labels=labels)["soft labels"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("by", ["entropy", "confidence"])
def test_teachers_that_agree_are_one_teacher_and_one_is_itself(by: str) -> None:
    student, teacher, labels = randn(4, 3), randn(4, 3, seed=1), torch.tensor([0, 2, 1, -100])
    alone = SoftLabels().terms(Lesson(student=student, teacher=teacher, labels=labels))["soft labels"].item()
    for teachers in ([teacher], [teacher] * 3):
        found = terms(EachTeacher(loss=SoftLabels(), by=by, temperature=2), student, *teachers, labels=labels)
        assert found["soft labels"] == pytest.approx(alone, rel=1e-5)


def test_a_teacher_that_is_wrong_counts_less_and_an_unsure_one_too() -> None:
    right, wrong = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    both = Lesson(student=right, teacher=torch.stack([right, wrong], dim=1), labels=torch.tensor([0]), aligned=False)
    assert EachTeacher(loss=SoftLabels(), by="confidence").weights(both)[0, 0] > 0.95
    unsure = Lesson(student=right, teacher=torch.stack([right, 0.1 * right], dim=1), aligned=False)
    weights = EachTeacher(loss=SoftLabels()).weights(unsure)
    assert weights[0, 0] > 0.6
    torch.testing.assert_close(weights.sum(-1), torch.ones(1))


def test_classes_may_be_second() -> None:
    student, teachers = randn(2, 5, 3), [randn(2, 5, 3, seed=k) for k in (1, 2)]
    last = terms(EachTeacher(loss=SoftLabels(class_axis=-1)), student, *teachers)
    second = EachTeacher(loss=SoftLabels(class_axis=1), class_axis=1)
    assert terms(second, student.mT, *(t.mT for t in teachers)) == pytest.approx(last)


def test_two_teachers_teach_a_student_in_one_call() -> None:
    torch.manual_seed(0)
    teachers, student = [nn.Linear(4, 3), nn.Linear(4, 3)], nn.Linear(4, 3)
    x = randn(16, 4)
    task = Task(train=[(x, torch.zeros(16, dtype=torch.long))], evaluate=[x])
    loss, losses = EachTeacher(loss=SameLogits()), []
    distill(
        Ensemble(teachers, mixed=False), student, task, loss=loss,
        training=Training(steps=20, optimizer=SGD(learning_rate=0.05)),
        progress=lambda step, total, value: losses.append(value),
    )  # fmt: skip
    assert losses[-1] < losses[0] / 2


def test_what_does_not_fit_is_refused() -> None:
    loss = EachTeacher(loss=SoftLabels(), by="confidence")
    with pytest.raises(DataError, match="EachTeacher: got labels None"):
        terms(loss, randn(4, 3), randn(4, 3))
    with pytest.raises(
        ModelError, match=r"in shape \[4, 3\], the student in \[4, 3\].*Ensemble\(teachers, mixed=False"
    ):
        loss.terms(Lesson(student=randn(4, 3), teacher=randn(4, 3), aligned=False))
    with pytest.raises(UsageError, match=r"EachTeacher\.by: got 'size'"):
        EachTeacher(loss=SoftLabels(), by="size")
    with pytest.raises(UsageError, match=r"EachTeacher\.temperature: got 0"):
        EachTeacher(loss=SoftLabels(), temperature=0)
