import math

import pytest
import torch
from distill_samples import randn

from laconic.core.errors import UsageError
from laconic.distill import LogarithmicFeatures, Pair


def test_the_loss_is_the_logarithm_of_the_sum_of_powers() -> None:
    pair = Pair(student=randn(5, 3, 2, 2), teacher=randn(5, 4, seed=1))
    module = LogarithmicFeatures(power=3).module(pair)
    with torch.no_grad():
        ours, theirs = module.map(pair.student.mean((2, 3))).double(), pair.teacher.double()
        rows = [(x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in (ours, theirs)]
        assert module(pair).item() == pytest.approx(math.log(float(((rows[0] - rows[1]).abs() ** 3).sum())), rel=1e-5)


def test_tokens_are_averaged_over_the_positions_that_count() -> None:
    tokens, mask = randn(5, 4, 3), torch.arange(4) < torch.tensor([4, 3, 2, 1, 4])[:, None]
    means = torch.stack([row[kept].mean(0) for row, kept in zip(tokens, mask, strict=True)])
    loss, teacher = LogarithmicFeatures(channel_axis=-1), randn(5, 6, seed=1)
    module = loss.module(Pair(student=tokens, teacher=teacher))
    assert module.map.in_features == 3
    averaged = module(Pair(student=means, teacher=teacher))
    torch.testing.assert_close(module(Pair(student=tokens, teacher=teacher, mask=mask)), averaged)


def test_a_factor_on_the_teacher_and_a_shift_change_nothing() -> None:
    pair = Pair(student=randn(8, 3), teacher=randn(8, 4, seed=1))
    module = LogarithmicFeatures().module(pair)
    torch.testing.assert_close(module(Pair(student=pair.student, teacher=7 * pair.teacher + 3)), module(pair))


def test_values_outside_their_domain_are_refused() -> None:
    with pytest.raises(UsageError, match=r"LogarithmicFeatures\.power: got 0\.5"):
        LogarithmicFeatures(power=0.5)
    with pytest.raises(UsageError, match=r"expected \[samples, channels"):
        LogarithmicFeatures().module(Pair(student=randn(3), teacher=randn(3)))
