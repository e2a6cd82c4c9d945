import pytest
import torch
from distill_samples import distance, kl, randn, softmax

from laconic.core.errors import UsageError
from laconic.distill import ChannelDistributions


def test_the_distance_is_the_divergence_of_each_channel_over_its_positions() -> None:
    student, teacher = randn(2, 3, 2, 2), randn(2, 3, 2, 2, seed=1)
    rows = zip(teacher.reshape(6, 4).tolist(), student.reshape(6, 4).tolist(), strict=True)
    expected = 9 * sum(kl(softmax(t, 3.0), softmax(s, 3.0)) for t, s in rows) / 6
    assert distance(ChannelDistributions(temperature=3), student, teacher) == pytest.approx(expected, rel=1e-6)


def test_a_constant_added_to_a_channel_changes_nothing_and_sizes_are_joined() -> None:
    student, teacher = randn(2, 3, 4, 4), randn(2, 3, 4, 4, seed=1)
    shift = torch.tensor([1.0, -5.0, 20.0])[None, :, None, None]
    loss = ChannelDistributions()
    assert distance(loss, student + shift, teacher) == pytest.approx(distance(loss, student, teacher), rel=1e-5)
    assert distance(loss, randn(2, 3, 8, 8), teacher) > 0


def test_what_it_cannot_compare_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ChannelDistributions\.temperature: got 0"):
        ChannelDistributions(temperature=0)
    with pytest.raises(UsageError, match="the same shape"):
        distance(ChannelDistributions(), randn(2, 3, 4), randn(2, 5, 4))
    with pytest.raises(UsageError, match="Match an earlier layer"):
        distance(ChannelDistributions(), randn(2, 3), randn(2, 3))
