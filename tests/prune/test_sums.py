import math

import pytest
import torch

from laconic.prune.sums import Sums, best_damping


def test_solution_is_that_of_least_squares_with_a_constant():
    x, y = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64)
    weight = torch.randn(1, 2, 3, dtype=torch.float64)
    sums = Sums.like(weight)
    for half in (slice(0, 20), slice(20, 50)):
        sums.add(x[None, half], y[None, half])
    solved, offset = sums.solve(weight, 0.0)
    expected = torch.linalg.lstsq(torch.cat([x, torch.ones(50, 1, dtype=torch.float64)], 1), y).solution
    torch.testing.assert_close(solved[0], expected[:3].T)
    torch.testing.assert_close(offset[0], expected[3])


def test_strong_damping_keeps_the_weight():
    x, y = torch.randn(1, 50, 3), torch.randn(1, 50, 2)
    weight = torch.randn(1, 2, 3, dtype=torch.float64)
    sums = Sums.like(weight)
    sums.add(x, y)
    torch.testing.assert_close(sums.solve(weight, 1e12)[0], weight)


def test_inputs_that_never_vary_keep_their_weight():
    weight = torch.randn(1, 2, 3, dtype=torch.float64)
    sums = Sums.like(weight)
    sums.add(torch.zeros(1, 10, 3), torch.randn(1, 10, 2))
    torch.testing.assert_close(sums.solve(weight, 1e-3)[0], weight)


def test_solution_without_a_constant_is_that_of_plain_least_squares():
    x, y = torch.randn(50, 3, dtype=torch.float64) + 2, torch.randn(50, 2, dtype=torch.float64)
    weight = torch.randn(1, 2, 3, dtype=torch.float64)
    sums = Sums.like(weight)
    sums.add(x[None], y[None])
    solved, offset = sums.solve(weight, 0.0, constant=False)
    torch.testing.assert_close(solved[0], torch.linalg.lstsq(x, y).solution.T)
    assert not offset.any()


def test_infinite_damping_moves_the_mean_alone():
    x, y = torch.randn(1, 50, 3, dtype=torch.float64), torch.randn(1, 50, 2, dtype=torch.float64)
    weight = torch.randn(1, 2, 3, dtype=torch.float64)
    sums = Sums.like(weight)
    sums.add(x, y)
    solved, offset = sums.solve(weight, math.inf)
    assert torch.equal(solved, weight)
    torch.testing.assert_close(offset, (y - x @ weight.mT).mean(1))


def test_error_is_the_sum_of_squares_less_that_of_what_is_wanted():
    x, y = torch.randn(1, 50, 3, dtype=torch.float64), torch.randn(1, 50, 2, dtype=torch.float64)
    weight, bias = torch.randn(1, 2, 3, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    sums = Sums.like(weight)
    sums.add(x, y)
    expected = (x @ weight.mT + bias[:, None] - y).square().sum() - y.square().sum()
    assert sums.error(weight, bias) == pytest.approx(float(expected))


def drawn(count, noise, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, count, 8, generator=generator, dtype=torch.float64)
    truth = torch.ones(1, 2, 8, dtype=torch.float64)
    sums = Sums.like(truth)
    sums.add(x, x @ truth.mT + noise * torch.randn(1, count, 2, generator=generator, dtype=torch.float64))
    return sums


def test_damping_is_weak_where_samples_tell_much_and_strong_where_they_tell_nothing():
    nothing = torch.zeros(1, 2, 8, dtype=torch.float64)
    assert best_damping(drawn(1000, 0.01, 0), drawn(300, 0.01, 1), nothing) == 1e-4
    truth = torch.ones(1, 2, 8, dtype=torch.float64)
    assert best_damping(drawn(9, 5.0, 0), drawn(300, 5.0, 1), truth) == math.inf


def test_outputs_that_are_all_alike_are_damped_like_one_of_them():
    x, noise = torch.randn(2, 40, 16, dtype=torch.float64), torch.randn(2, 40, 1, dtype=torch.float64)
    weight = torch.zeros(1, 1, 16, dtype=torch.float64)
    found = []
    for count in (1, 300):
        sums = [Sums.like(weight.repeat(1, count, 1)) for _ in range(2)]
        for one, inputs, more in zip(sums, x, noise, strict=True):
            one.add(inputs[None], (inputs[:, :1] + 2 * more).repeat(1, count)[None])
        found.append(best_damping(*sums, weight.repeat(1, count, 1)))
    assert found[0] == found[1] and found[0] > 1e-4
