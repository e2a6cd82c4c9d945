import math

import pytest
import torch
from distill_samples import distance, kl, randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.errors import UsageError
from laconic.distill import AttentionMaps, Pair


def maps(*shape: int, seed: int = 0) -> Tensor:
    return randn(*shape, seed=seed).double().softmax(-1)


def test_hand_worked_values() -> None:
    student, teacher = [[[[0.5, 0.5], [0.25, 0.75]]]], [[[[0.75, 0.25], [0.25, 0.75]]]]
    assert distance(AttentionMaps(), student, teacher) == pytest.approx(2 / 16 / 4)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert distance(AttentionMaps(form="ce"), student, teacher) == pytest.approx(expected, rel=1e-6)


@given(heads=st.sampled_from(["each", "mean"]), seed=st.integers(0, 10**6))
def test_the_distances_are_the_reference_s(heads: str, seed: int) -> None:
    student, teacher = maps(2, 2, 3, 3, seed=seed), maps(2, 2, 3, 3, seed=seed + 1)
    s, t = (x.mean(1) if heads == "mean" else x for x in (student, teacher))
    rows = list(zip(s.reshape(-1, 3).tolist(), t.reshape(-1, 3).tolist(), strict=True))
    squares = [(a - b) ** 2 for one, other in rows for a, b in zip(one, other, strict=True)]
    assert distance(AttentionMaps(heads=heads), student, teacher) == pytest.approx(sum(squares) / len(squares))
    divergence = sum(kl(other, one) for one, other in rows) / len(rows)
    assert distance(AttentionMaps(form="ce", heads=heads), student, teacher) == pytest.approx(divergence, rel=1e-3)


def test_means_over_heads_join_other_numbers_of_heads() -> None:
    student, teacher = maps(2, 2, 3, 3), maps(2, 4, 3, 3, seed=1)
    found = distance(AttentionMaps(heads="mean"), student, teacher)
    assert found == pytest.approx((student.mean(1) - teacher.mean(1)).square().mean().item())
    with pytest.raises(UsageError, match="For other numbers of heads write heads='mean'"):
        distance(AttentionMaps(), student, teacher)


@pytest.mark.parametrize("form", ["mse", "ce"])
def test_masked_positions_do_not_count_as_queries_or_as_keys(form: str) -> None:
    mask = torch.tensor([[True, True, False]])
    scores = [randn(1, 3, 3, 3, seed=seed).masked_fill(~mask[:, None, None], -1e30) for seed in (0, 1)]
    student = scores[0].requires_grad_()
    pair = Pair(student=student.softmax(-1), teacher=scores[1].softmax(-1), mask=mask)
    loss = AttentionMaps(form=form).distance(pair)
    loss.backward()
    short = distance(AttentionMaps(form=form), *(x.detach()[..., :2, :2] for x in (pair.student, pair.teacher)))
    assert loss.item() == pytest.approx(short, rel=1e-5)
    assert student.grad[..., 2, :].abs().max() == 0


def test_the_gradient_of_the_scores_is_that_of_the_cross_entropy() -> None:
    scores, teacher = randn(1, 2, 3, 3).requires_grad_(), maps(1, 2, 3, 3, seed=1).float()
    AttentionMaps(form="ce").distance(Pair(student=scores.softmax(-1), teacher=teacher)).backward()
    torch.testing.assert_close(scores.grad, (scores.detach().softmax(-1) - teacher) / 6, atol=1e-5, rtol=1e-3)


def test_values_outside_their_domain_are_refused() -> None:
    with pytest.raises(UsageError, match=r"AttentionMaps\.form: got 'kl'"):
        AttentionMaps(form="kl")
    with pytest.raises(UsageError, match=r"AttentionMaps\.heads: got 'sum'"):
        AttentionMaps(heads="sum")
    with pytest.raises(UsageError, match=r"expected \[samples, heads, queries, keys\]"):
        distance(AttentionMaps(), randn(2, 3), randn(2, 3))
