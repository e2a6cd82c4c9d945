import math

import pytest
import torch

from laconic.core.errors import UsageError
from laconic.core.task import squared_error
from laconic.distill import Lesson, SquaredError


def test_a_hand_worked_value() -> None:
    lesson = Lesson(student=torch.tensor([[1.0, 2.0]]), teacher=torch.tensor([[4.0, 1.0]]))
    assert SquaredError().terms(lesson) == {"outputs": torch.tensor(5.0)}


def test_labels_have_the_share_that_is_asked() -> None:
    lesson = Lesson(
        student=torch.tensor([[1.0], [3.0]]),
        teacher=torch.tensor([[2.0], [3.0]]),
        labels=torch.tensor([1.0, 7.0]),
        criterion=squared_error,
    )
    terms = SquaredError(hard_weight=0.25).terms(lesson)
    assert terms == {"outputs": torch.tensor(0.75 * 0.5), "labels": torch.tensor(0.25 * 8.0)}


def test_half_precision_outputs_are_compared_in_float32() -> None:
    student, teacher = torch.full((1, 2), 300.0).half(), torch.zeros(1, 2).half()
    assert SquaredError().terms(Lesson(student=student, teacher=teacher))["outputs"] == 90000


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_its_domain_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match=r"SquaredError\.hard_weight: got"):
        SquaredError(hard_weight=share)
