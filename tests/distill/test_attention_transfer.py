import pytest
import torch
from distill_samples import distance, randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.errors import UsageError
from laconic.distill import AttentionTransfer


def attention(image: Tensor, power: float) -> list[float]:
    flat = image.double().flatten(1).tolist()
    strength = [sum(abs(channel[i]) ** power for channel in flat) for i in range(len(flat[0]))]
    length = sum(q * q for q in strength) ** 0.5
    return [q / length for q in strength]


def test_a_hand_worked_value() -> None:
    # Two channels on two positions: sums of squares (9, 16) / sqrt(337) and (1, 0).
    student, teacher = [[[[3.0, 0.0]], [[0.0, 4.0]]]], [[[[5.0, 0.0]]]]
    expected = ((9 / 337**0.5 - 1) ** 2 + 256 / 337) / 2
    assert distance(AttentionTransfer(), student, teacher) == pytest.approx(expected)


@given(power=st.floats(1, 4), seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(power: float, seed: int) -> None:
    student, teacher = randn(2, 3, 2, 4, seed=seed), randn(2, 5, 2, 4, seed=seed + 1)
    maps = [(attention(s, power), attention(t, power)) for s, t in zip(student, teacher, strict=True)]
    expected = sum((a - b) ** 2 for s, t in maps for a, b in zip(s, t, strict=True)) / 16
    assert distance(AttentionTransfer(power=power), student, teacher) == pytest.approx(expected, rel=1e-9)


def test_signs_order_of_channels_and_scale_of_a_sample_change_nothing() -> None:
    student, teacher = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    moved = -student[:, [2, 0, 1]] * torch.tensor([0.1, 30.0]).view(2, 1, 1, 1)
    assert distance(AttentionTransfer(), moved, teacher) == pytest.approx(
        distance(AttentionTransfer(), student, teacher)
    )


def test_channels_may_be_last_and_sizes_may_differ() -> None:
    student, teacher = randn(2, 3, 4), randn(2, 5, 4, seed=1)
    last = distance(AttentionTransfer(channel_axis=-1), student.mT, teacher.mT)
    assert last == pytest.approx(distance(AttentionTransfer(), student, teacher))
    assert distance(AttentionTransfer(), randn(2, 3, 8, 8), randn(2, 3, 4, 4, seed=1)) > 0


def test_features_without_the_same_positions_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"AttentionTransfer: features: got \[2, 3\]; expected \[samples, channels, po"
    ):
        distance(AttentionTransfer(), randn(2, 3), randn(2, 3))
    with pytest.raises(UsageError, match="expected the same positions"):
        distance(AttentionTransfer(), randn(2, 3, 4), randn(2, 3, 5))
    with pytest.raises(UsageError, match=r"AttentionTransfer\.power: got 0\.5"):
        AttentionTransfer(power=0.5)
