import math

import pytest
import torch
from distill_samples import kl, randn, softmax, terms

from laconic.core.errors import UsageError
from laconic.distill import ConfidenceTemperature, FocalTemperature, SoftLabels
from laconic.distill.answers import Answers

STUDENT = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]])
TEACHER = torch.tensor([[6.0, 8.0], [4.0, 3.0], [-3.0, -4.0]])


def test_focal_temperatures_are_hand_worked_values():
    # Cosines 1, 0.96, -1: differences 0, 0.04, 2; squares 0, 0.0016, 4 with mean 1.3338667.
    rows = Answers(student=STUDENT, teacher=TEACHER)
    found = FocalTemperature(beta=0.5, gamma=2.0)(rows, 4.0)
    assert found.tolist() == pytest.approx([4.6669333, 4.6661333, 2.6669333], abs=1e-5)


def test_confidence_temperatures_are_hand_worked_values():
    # The student is sure by 1/2, 2/3 and 3/4: 2, 3/2 and 4/3 with mean 29/18.
    logits = torch.tensor([[0.0, 0.0], [math.log(2), 0.0], [0.0, math.log(3)]])
    found = ConfidenceTemperature(beta=2.0)(Answers(student=logits, teacher=TEACHER), 4.0)
    assert found.tolist() == pytest.approx([4 + 2 * (29 / 18 - w) for w in (2, 1.5, 4 / 3)], abs=1e-5)


@pytest.mark.parametrize("kind", [FocalTemperature, ConfidenceTemperature])
def test_each_position_is_softened_by_its_own_temperature(kind):
    student, teacher = randn(3, 4), randn(3, 4, seed=1)
    each = kind(beta=0.7)(Answers(student=student, teacher=teacher), 3.0).tolist()
    assert len({round(t, 3) for t in each}) == 3
    expected = [
        t**2 * kl(softmax(theirs, t), softmax(ours, t))
        for t, ours, theirs in zip(each, student.double().tolist(), teacher.double().tolist(), strict=True)
    ]
    found = terms(SoftLabels(temperature=3.0, sample_temperature=kind(beta=0.7)), student, teacher)["soft labels"]
    assert found == pytest.approx(sum(expected) / 3, rel=1e-4)


@pytest.mark.parametrize("kind", [FocalTemperature, ConfidenceTemperature])
def test_positions_that_do_not_count_change_no_temperature(kind):
    rows = Answers(student=randn(3, 4), teacher=randn(3, 4, seed=1), labels=torch.tensor([0, -100, 1]))
    fewer = Answers(student=rows.student[[0, 2]], teacher=rows.teacher[[0, 2]])
    torch.testing.assert_close(kind()(rows, 3.0)[[0, 2]], kind()(fewer, 3.0))


def test_strength_zero_is_one_temperature_and_no_temperature_is_negative():
    student, teacher = randn(4, 5), randn(4, 5, seed=1)
    plain = terms(SoftLabels(temperature=3.0), student, teacher)
    found = terms(SoftLabels(temperature=3.0, sample_temperature=FocalTemperature(beta=0)), student, teacher)
    assert found["soft labels"] == pytest.approx(plain["soft labels"])
    extreme = FocalTemperature(beta=1e3)(Answers(student=student, teacher=teacher), 3.0)
    assert extreme.min().item() == pytest.approx(0.3)


def test_no_gradient_flows_through_a_temperature():
    student, teacher = randn(4, 5).requires_grad_(), randn(4, 5, seed=1)
    for kind in (FocalTemperature, ConfidenceTemperature):
        assert not kind()(Answers(student=student, teacher=teacher), 3.0).requires_grad


def test_values_outside_their_domain_are_refused():
    for kind in (FocalTemperature, ConfidenceTemperature):
        with pytest.raises(UsageError, match=rf"{kind.__name__}\.beta: got -1"):
            kind(beta=-1)
    with pytest.raises(UsageError, match=r"gamma: got 0"):
        FocalTemperature(gamma=0)
