import pytest
import torch
from distill_samples import randn, terms

from laconic.core.errors import DataError, UsageError
from laconic.distill import Labels, Lesson, Ramp, SameLogits, SoftLabels, Sum, Weighted


def test_weights_and_schedules_multiply() -> None:
    lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.tensor([[2.0, 0.0]]), progress=0.25)
    loss = Sum(losses=(Weighted(loss=SameLogits(), weight=3.0, schedule=Ramp(start=1, end=0)), SoftLabels()))
    found = loss.terms(lesson)
    assert found["logits"] == 2 * 3 * 0.75
    assert found["soft labels"] == SoftLabels().terms(lesson)["soft labels"]


def test_terms_of_one_name_are_added_up() -> None:
    student, teacher = randn(3, 4), randn(3, 4, seed=1)
    one, other = SoftLabels(temperature=1), SoftLabels(temperature=4)
    expected = terms(one, student, teacher)["soft labels"] + terms(other, student, teacher)["soft labels"]
    assert terms(Sum(losses=(one, other)), student, teacher)["soft labels"] == pytest.approx(expected)


def test_labels_alone_are_the_criterion_and_must_be_there() -> None:
    lesson = Lesson(student=torch.zeros(1, 2), teacher=torch.zeros(1, 2), labels=torch.tensor([1]))
    assert Labels().terms(lesson)["labels"].item() == pytest.approx(0.6931, abs=1e-4)
    with pytest.raises(DataError, match="Labels: a batch has no labels"):
        Labels().terms(Lesson(student=torch.zeros(1, 2), teacher=torch.zeros(1, 2)))


def test_a_sum_of_nothing_and_a_negative_weight_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Sum\.losses: got \(\)"):
        Sum(losses=())
    with pytest.raises(UsageError, match=r"Weighted\.weight: got -1"):
        Weighted(loss=Labels(), weight=-1)


def test_a_scheduled_temperature_multiplies_the_configured_one() -> None:
    lesson = Lesson(student=randn(3, 4), teacher=randn(3, 4, seed=1), progress=0.5)
    scheduled = SoftLabels(temperature=8, schedule=Ramp(start=1, end=0.5)).terms(lesson)
    assert scheduled == SoftLabels(temperature=6).terms(lesson)
