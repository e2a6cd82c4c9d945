from typing import Any

import pytest
import torch
from distill_samples import randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from laconic.core.errors import ModelError, UsageError
from laconic.distill import Ensemble, Lesson, SoftLabels


class Says(nn.Module):
    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.answer}


def ensemble(*answers: Tensor, **options: Any) -> Tensor:
    return Ensemble([Says(answer) for answer in answers], **options)(torch.zeros(1))


@given(temperature=st.floats(0.5, 10), seed=st.integers(0, 10**6))
def test_softened_by_its_temperature_it_is_the_weighted_mean_of_the_softened_probabilities(
    temperature: float, seed: int
) -> None:
    answers = [randn(3, 4, seed=seed + k).double() for k in range(3)]
    expected = sum(w * (z / temperature).softmax(-1) for w, z in zip((0.5, 0.25, 0.25), answers, strict=True))
    found = ensemble(*answers, weights=[2, 1, 1], temperature=temperature)
    torch.testing.assert_close((found / temperature).softmax(-1), expected)


def test_a_hand_worked_value() -> None:
    # (3/4, 1/4) and (1/4, 3/4) have the mean (1/2, 1/2); the mean of the logits would too, but not of these two:
    one, other = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    torch.testing.assert_close(ensemble(one, other).softmax(-1), torch.tensor([[0.7, 0.3]]))


def test_members_that_agree_give_what_each_of_them_gives() -> None:
    teacher, student = randn(3, 4), randn(3, 4, seed=1)
    losses = [
        SoftLabels(temperature=3).terms(Lesson(student=student, teacher=answer))["soft labels"]
        for answer in (teacher, ensemble(teacher, teacher, temperature=3))
    ]
    torch.testing.assert_close(*losses)


def test_classes_may_be_in_another_dimension_and_values_are_averaged_plainly() -> None:
    answers = randn(2, 3, 5), randn(2, 3, 5, seed=1)
    last = ensemble(*answers, class_axis=-1)
    torch.testing.assert_close(ensemble(*(a.mT for a in answers), class_axis=1).mT, last)
    torch.testing.assert_close(ensemble(*answers, regression=True, weights=[1, 3]), (answers[0] + 3 * answers[1]) / 4)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, torch.inf]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match=r"Ensemble\.weights: got"):
        ensemble(randn(1, 2), randn(1, 2), weights=weights)
    with pytest.raises(UsageError, match=r"Ensemble\.weights: got \[\]"):
        Ensemble([])


def test_members_that_answer_in_other_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"the members answer in the shapes \[\[1, 2\], \[1, 3\]\]; expected one"):
        ensemble(randn(1, 2), randn(1, 3))
