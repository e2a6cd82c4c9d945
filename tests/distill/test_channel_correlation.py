import pytest
import torch
from distill_samples import distance, randn

from laconic.core.errors import UsageError
from laconic.distill import ChannelCorrelation


def test_the_distance_is_that_of_correlations_row_by_row() -> None:
    student, teacher = randn(2, 3, 2, 2), randn(2, 3, 4, 4, seed=1)
    total = 0.0
    for n in range(2):
        found = []
        for x in (student, teacher):
            rows = x[n].flatten(1).double()
            gram = torch.stack([torch.stack([one @ other for other in rows]) for one in rows])
            found.append(gram / gram.norm(dim=1, keepdim=True))
        total += float((found[0] - found[1]).square().mean()) / 2
    assert distance(ChannelCorrelation(), student, teacher) == pytest.approx(total, rel=1e-5)


def test_a_factor_on_a_sample_changes_nothing_and_other_channels_are_refused() -> None:
    teacher = randn(2, 3, 4).double()
    assert distance(ChannelCorrelation(), 7 * teacher, teacher) == pytest.approx(0, abs=1e-12)
    with pytest.raises(UsageError, match="expected as many channels"):
        distance(ChannelCorrelation(), randn(2, 3, 4), randn(2, 5, 4))
