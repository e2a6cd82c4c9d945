import math

import pytest
import torch
from distill_samples import distance, kl, randn, rotation, softmax
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.errors import UsageError
from laconic.distill import Pair, ValueRelations


def relations(values: Tensor, heads: int) -> list[list[float]]:
    """One distribution a head and position of one sample."""
    found = []
    for head in values.double().chunk(heads, dim=-1):
        scores = [[float(a @ b) / math.sqrt(head.shape[-1]) for b in head] for a in head]
        found += [softmax(row) for row in scores]
    return found


def test_a_hand_worked_value() -> None:
    # Teacher's values sqrt(ln 3), 0: scores (ln 3, 0) and (0, 0), so (3/4, 1/4) and (1/2, 1/2); the student's are even.
    teacher = [[[math.log(3) ** 0.5], [0.0]]]
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert distance(ValueRelations(), [[[0.0, 0.0], [0.0, 0.0]]], teacher) == pytest.approx(expected)


@given(heads=st.sampled_from([1, 2]), seed=st.integers(0, 10**6))
def test_the_distance_is_the_reference_s(heads: int, seed: int) -> None:
    student, teacher = randn(2, 3, 4, seed=seed, scale=1.0), randn(2, 3, 6, seed=seed + 1, scale=1.0)
    divergences = [
        kl(t, s)
        for one, other in zip(student, teacher, strict=True)
        for s, t in zip(relations(one, heads), relations(other, heads), strict=True)
    ]
    found = distance(ValueRelations(heads=heads), student, teacher)
    assert found == pytest.approx(sum(divergences) / len(divergences), rel=1e-7, abs=1e-12)


def test_masked_positions_neither_relate_nor_are_related_to() -> None:
    student, teacher = randn(1, 4, 6).requires_grad_(), randn(1, 4, 8, seed=1)
    mask = torch.tensor([[True, True, True, False]])
    loss = ValueRelations(heads=2).distance(Pair(student=student, teacher=teacher, mask=mask))
    loss.backward()
    short = distance(ValueRelations(heads=2), student.detach()[:, :3], teacher[:, :3])
    assert loss.item() == pytest.approx(short, rel=1e-5)
    assert student.grad[0, 3].abs().max() == 0


def test_a_rotation_changes_nothing() -> None:
    student, teacher = randn(2, 3, 4).double(), randn(2, 3, 4, seed=1)
    assert distance(ValueRelations(), student @ rotation(4), teacher) == pytest.approx(
        distance(ValueRelations(), student, teacher)
    )


@pytest.mark.parametrize(
    ("student", "teacher", "named"),
    [
        ((2, 3, 4), (2, 5, 4), "expected as many positions"),
        ((2, 3, 5), (2, 3, 4), "a multiple of 2"),
        ((2, 4), (2, 4), "a multiple of 2"),
    ],
)
def test_what_cannot_be_related_is_refused(student: tuple[int, ...], teacher: tuple[int, ...], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        distance(ValueRelations(heads=2), randn(*student), randn(*teacher))
    with pytest.raises(UsageError, match=r"ValueRelations\.heads: got 0"):
        ValueRelations(heads=0)
