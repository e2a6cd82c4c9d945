import pytest
import torch
from distill_samples import distance, randn, rotation

from laconic.core.errors import UsageError
from laconic.distill import PositionAffinity


def test_the_distance_is_that_of_the_cosines_of_all_pairs_of_positions() -> None:
    student, teacher = randn(2, 3, 2, 2), randn(2, 5, 2, 2, seed=1)
    total = 0.0
    for n in range(2):
        for i in range(4):
            for j in range(4):
                cosines = [
                    torch.cosine_similarity(x[n].flatten(1)[:, i].double(), x[n].flatten(1)[:, j].double(), dim=0)
                    for x in (student, teacher)
                ]
                total += float((cosines[0] - cosines[1]) ** 2) / 32
    assert distance(PositionAffinity(), student, teacher) == pytest.approx(total, rel=1e-5)


def test_rotations_of_channels_and_the_length_of_a_position_change_nothing() -> None:
    teacher = randn(2, 6, 4).double()
    changed = torch.einsum("cd,ndp->ncp", rotation(6), teacher) * torch.tensor([1.0, 2.0, 0.5, 9.0])
    assert distance(PositionAffinity(), changed, teacher) == pytest.approx(0, abs=1e-12)


def test_other_positions_are_refused() -> None:
    with pytest.raises(UsageError, match="expected as many positions"):
        distance(PositionAffinity(), randn(2, 3, 4), randn(2, 3, 5))
