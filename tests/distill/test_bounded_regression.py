import pytest
import torch
from distill_samples import randn, terms

from laconic.core.errors import DataError, UsageError
from laconic.distill import BoundedRegression, Lesson


@pytest.mark.parametrize(("margin", "expected"), [(0.0, (0 + 9 + 4) / 3), (3.5, (1 + 9 + 4) / 3)])
def test_samples_on_which_the_student_is_better_than_the_teacher_do_not_count(margin: float, expected: float) -> None:
    # Errors of the student 1, 9, 4; of the teacher 4, 4, 0.
    found = terms(BoundedRegression(margin=margin), [[1.0], [3.0], [2.0]], [[2.0], [2.0], [0.0]], [[0.0], [0.0], [0.0]])
    assert found == {"bounded outputs": pytest.approx(expected)}


def test_several_outputs_of_a_sample_are_one_error_and_flat_labels_are_taken() -> None:
    student, teacher, labels = randn(4, 3), randn(4, 3, seed=1), randn(4, 3, seed=2)
    ours, theirs = ((x - labels).square().mean(1) for x in (student, teacher))
    expected = sum(float(a) for a, b in zip(ours, theirs, strict=True) if a > b) / 4
    assert terms(BoundedRegression(), student, teacher, labels)["bounded outputs"] == pytest.approx(expected, rel=1e-5)
    assert terms(BoundedRegression(), [[3.0]], [[2.0]], [0.0]) == {"bounded outputs": 9}


def test_samples_that_are_good_enough_get_no_gradient() -> None:
    student = torch.tensor([[1.0], [3.0]], requires_grad=True)
    lesson = Lesson(student=student, teacher=torch.full((2, 1), 2.0), labels=torch.zeros(2, 1))
    BoundedRegression().terms(lesson)["bounded outputs"].backward()
    assert student.grad.flatten().tolist() == [0, 3]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="BoundedRegression: a batch has no labels"):
        terms(BoundedRegression(), [[1.0]], [[1.0]])
    with pytest.raises(UsageError, match=r"BoundedRegression\.margin: got -1"):
        BoundedRegression(margin=-1)
    with pytest.raises(UsageError, match=r"BoundedRegression\.hard_weight: got 2"):
        BoundedRegression(hard_weight=2)
