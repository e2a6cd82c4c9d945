import math

import pytest
import torch
from distill_samples import randn
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from laconic.core.errors import UsageError
from laconic.distill import Match, Matched, Pair, Variational


def test_a_hand_worked_value() -> None:
    # Variance 4 for every channel: (ln 4 + error^2 / 4) / 2 with errors 0 and 4.
    pair = Pair(student=torch.zeros(1, 2), teacher=torch.tensor([[0.0, 4.0]]))
    assert Variational(variance=4.0).module(pair)(pair).item() == pytest.approx((math.log(4) + 2) / 2)


@given(
    variance=st.sampled_from([1e-3, 0.5, 5.0, 50.0, 200.0]), axis=st.sampled_from([1, -1]), seed=st.integers(0, 10**6)
)
def test_the_loss_is_the_reference_s(variance: float, axis: int, seed: int) -> None:
    pair = Pair(student=randn(2, 3, 4, seed=seed).double(), teacher=randn(2, 3, 4, seed=seed + 1).double())
    module = Variational(variance=variance, channel_axis=axis).module(pair)
    errors = (pair.student - pair.teacher).square().flatten().tolist()
    expected = sum(0.5 * (math.log(variance) + e / variance) for e in errors) / len(errors)
    assert module.raw.shape == (pair.teacher.shape[axis],)
    assert module(pair).item() == pytest.approx(expected, rel=1e-4)


def test_training_finds_the_mean_squared_error_of_each_channel() -> None:
    scale = torch.tensor([0.5, 3.0])
    pair = Pair(student=torch.zeros(200, 2), teacher=scale * randn(200, 2, scale=1.0))
    module = Variational().module(pair)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        module(pair).backward()
        optimizer.step()
    torch.testing.assert_close(nn.functional.softplus(module.raw), pair.teacher.square().mean(0), rtol=0.02, atol=0)


def test_projection_and_variances_are_weights_of_the_match() -> None:
    match = Match(teacher="a", student="b", loss=Variational(), projection="conv")
    pair = Pair(student=randn(2, 3, 8, 8), teacher=randn(2, 5, 4, 4))
    matched = Matched([match], [pair])
    assert [p.shape for p in matched.parameters()] == [(5, 3, 1, 1), (5,), (5,)]
    assert matched([pair], 0.0)["Variational a -> b"].requires_grad


@pytest.mark.parametrize("value", [0, 1e-5, math.inf])
def test_a_variance_that_is_too_small_or_endless_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"Variational\.variance: got"):
        Variational(variance=value)
