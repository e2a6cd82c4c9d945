import pytest
from distill_samples import mean_over_rows, randn, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.distill import SameLogits


def test_a_hand_worked_value() -> None:
    assert terms(SameLogits(), [[1.0, 0.0], [2.0, 2.0]], [[4.0, 1.0], [2.0, 2.0]]) == {"logits": 10 / 4}


@given(rows=st.integers(1, 5), classes=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_the_loss_is_the_reference_s(rows: int, classes: int, seed: int) -> None:
    student, teacher = randn(rows, classes, seed=seed), randn(rows, classes, seed=seed + 1)
    expected = mean_over_rows(
        lambda s, t: sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s), student, teacher
    )
    assert terms(SameLogits(), student, teacher)["logits"] == pytest.approx(expected, rel=1e-5)
