import pytest
import torch
from distill_samples import distance, randn
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.distill import CosineFeatures


def test_a_hand_worked_value() -> None:
    # Angles of 90 and 60 degrees.
    student, teacher = [[2.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [1.0, 3**0.5]]
    assert distance(CosineFeatures(), student, teacher) == pytest.approx((1 + 0.5) / 2)


@given(seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(seed: int) -> None:
    student, teacher = randn(2, 3, 4, seed=seed).double(), randn(2, 3, 4, seed=seed + 1).double()
    cosines = [
        float(s @ t / (s.norm() * t.norm())) for s, t in zip(student.view(6, 4), teacher.view(6, 4), strict=True)
    ]
    assert distance(CosineFeatures(), student, teacher) == pytest.approx(1 - sum(cosines) / 6, rel=1e-9)


@given(seed=st.integers(0, 10**6))
def test_patient_distillation_is_twice_the_cosine_at_the_first_position(seed: int) -> None:
    student, teacher = randn(3, 5, 4, seed=seed).double(), randn(3, 5, 4, seed=seed + 1).double()
    units = [x[:, 0] / x[:, 0].norm(dim=-1, keepdim=True) for x in (student, teacher)]
    patient = (units[0] - units[1]).square().sum(-1).mean()
    assert 2 * distance(CosineFeatures(position=0), student, teacher) == pytest.approx(patient.item())


def test_masked_positions_do_not_count() -> None:
    student, teacher = randn(1, 3, 4), randn(1, 3, 4, seed=1)
    masked = distance(CosineFeatures(), student, teacher, mask=[[True, True, False]])
    assert masked == pytest.approx(distance(CosineFeatures(), student[:, :2], teacher[:, :2]))


def test_a_positive_factor_on_a_position_changes_nothing() -> None:
    student, teacher = randn(2, 3, 4), randn(2, 3, 4, seed=1)
    moved = student * torch.tensor([[0.1, 2.0, 30.0]])[..., None]
    assert distance(CosineFeatures(), moved, teacher) == pytest.approx(distance(CosineFeatures(), student, teacher))


def test_images_and_other_widths_are_refused() -> None:
    with pytest.raises(UsageError, match=r"expected \[samples, features\] or \[samples, positions, features\]"):
        distance(CosineFeatures(), randn(2, 3, 4, 4), randn(2, 3, 4, 4))
    with pytest.raises(UsageError, match="expected the same shape"):
        distance(CosineFeatures(), randn(2, 3), randn(2, 4))
