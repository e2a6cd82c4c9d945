import pytest
from distill_samples import distance, randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.errors import UsageError
from laconic.distill import Gram


def gram(image: Tensor) -> list[list[float]]:
    rows = image.double().flatten(1).tolist()
    return [[sum(a * b for a, b in zip(x, y, strict=True)) / len(x) for y in rows] for x in rows]


def test_a_hand_worked_value() -> None:
    # G = [[1, 2], [2, 4]] / 1 against [[0, 0], [0, 1]]: (1 + 4 + 4 + 9) / 4.
    assert distance(Gram(), [[[1.0], [2.0]]], [[[0.0], [1.0]]]) == pytest.approx(18 / 4)


@given(seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(seed: int) -> None:
    student, teacher = randn(2, 3, 2, 2, seed=seed), randn(2, 3, 4, 1, seed=seed + 1)
    errors = [
        (a - b) ** 2
        for s, t in zip(student, teacher, strict=True)
        for x, y in zip(gram(s), gram(t), strict=True)
        for a, b in zip(x, y, strict=True)
    ]
    assert distance(Gram(), student, teacher) == pytest.approx(sum(errors) / len(errors), rel=1e-9)


def test_the_order_of_positions_changes_nothing() -> None:
    student, teacher = randn(2, 3, 5), randn(2, 3, 5, seed=1)
    assert distance(Gram(), student.flip(2), teacher) == pytest.approx(distance(Gram(), student, teacher))
    assert distance(Gram(channel_axis=-1), student.mT, teacher.mT) == pytest.approx(distance(Gram(), student, teacher))


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Gram: got .* expected as many channels\. Write Match\(projection='conv'\)"):
        distance(Gram(), randn(2, 3, 4), randn(2, 5, 4))
