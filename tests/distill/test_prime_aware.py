import math

import pytest
import torch
from distill_samples import randn

from laconic.core.errors import UsageError
from laconic.distill import Pair, PrimeAware


def test_the_loss_is_the_paper_s_with_the_least_variance_in_the_logarithm_too() -> None:
    pair = Pair(student=randn(3, 2), teacher=randn(3, 2, seed=1))
    module = PrimeAware(least=0.5).module(pair)
    torch.nn.init.normal_(module.variance.weight, generator=torch.Generator().manual_seed(0))
    total = 0.0
    with torch.no_grad():
        for s, t, v in zip(pair.student, pair.teacher, module.variance(pair.student), strict=True):
            for a, b, c in zip(s.tolist(), t.tolist(), v.tolist(), strict=True):
                total += ((a - b) ** 2 / (0.5 + math.exp(c)) + math.log(0.5 + math.exp(c))) / 6
    assert module(pair).item() == pytest.approx(total, rel=1e-5)


def test_at_the_start_it_is_the_squared_error() -> None:
    pair = Pair(student=randn(3, 2), teacher=randn(3, 2, seed=1))
    expected = (pair.student - pair.teacher).square().mean()
    torch.testing.assert_close(PrimeAware().module(pair)(pair), expected, rtol=1e-5, atol=1e-5)


def test_samples_that_cannot_be_followed_come_to_count_less() -> None:
    student = torch.cat([torch.ones(32, 1), -torch.ones(32, 1)])
    noise = 5 * torch.randn(32, 1, generator=torch.Generator().manual_seed(0))
    pair = Pair(student=student, teacher=torch.cat([torch.ones(32, 1), noise]))
    module = PrimeAware().module(pair)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        module(pair).backward()
        optimizer.step()
    easy, hard = module.variance(torch.tensor([[1.0], [-1.0]])).flatten()
    assert hard > easy + 2


def test_features_that_are_zero_for_both_do_not_drive_the_loss_to_minus_infinity() -> None:
    pair = Pair(student=torch.zeros(4, 2), teacher=torch.zeros(4, 2))
    module = PrimeAware(least=1e-3).module(pair)
    torch.nn.init.constant_(module.variance.bias, -1000.0)
    assert module(pair).item() == pytest.approx(math.log(1e-3))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="the same width"):
        PrimeAware().module(Pair(student=randn(2, 3), teacher=randn(2, 4)))
    with pytest.raises(UsageError, match=r"PrimeAware\.least: got 0"):
        PrimeAware(least=0)
