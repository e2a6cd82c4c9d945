import pytest
import torch
from distill_samples import randn, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import DataError
from laconic.distill import Lesson, ProbabilityShift, SameLogits, SoftLabels
from laconic.distill.probability_shift import shifted


def test_the_favourite_and_the_truth_change_places_and_nothing_else():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0], [1.0, 2.0, 3.0]])
    found = shifted(logits, torch.tensor([1, 1, -100]))
    assert found.tolist() == [[1.0, 3.0, 2.0], [0.0, 5.0, 4.0], [1.0, 2.0, 3.0]]


@given(rows=st.integers(1, 6), classes=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_a_corrected_teacher_is_right_and_says_the_same_otherwise(rows, classes, seed):
    logits = randn(rows, classes, seed=seed)
    labels = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
    found = shifted(logits, labels)
    assert torch.equal(found.argmax(-1), labels)
    assert torch.equal(found.sort(-1).values, logits.sort(-1).values)
    right = logits.argmax(-1) == labels
    assert torch.equal(found[right], logits[right])


def test_the_loss_is_that_of_the_corrected_teacher_wherever_the_classes_are():
    student, teacher, labels = randn(2, 3, 4), randn(2, 3, 4, seed=1), torch.tensor([[0, 1, 2], [3, -100, 0]])
    expected = terms(SoftLabels(), student, shifted(teacher, labels), labels)
    assert terms(ProbabilityShift(loss=SoftLabels()), student, teacher, labels) == expected
    second = ProbabilityShift(loss=SoftLabels(), class_axis=1)
    found = terms(second, student.movedim(-1, 1), teacher.movedim(-1, 1), labels)
    assert found["soft labels"] == pytest.approx(expected["soft labels"])


def test_labels_are_needed_and_must_fit():
    lesson = Lesson(student=randn(2, 3), teacher=randn(2, 3))
    with pytest.raises(DataError, match="got labels None"):
        ProbabilityShift(loss=SameLogits()).terms(lesson)
    with pytest.raises(DataError, match="labels from 0 to 3"):
        terms(ProbabilityShift(loss=SameLogits()), randn(2, 3), randn(2, 3), [0, 3])
