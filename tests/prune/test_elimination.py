import pytest
import torch

from laconic.prune.importance import elimination
from laconic.prune.importance.elimination import Elimination


def drawn(columns):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3 * columns, columns, generator=generator, dtype=torch.float64)
    root = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, columns, generator=generator, dtype=torch.float64)
    return x.T @ x, root.T @ root, weight


def lost(A, G, weight, gone):
    """The nats, with the least squares for what is kept solved anew."""
    kept = [i for i in range(len(A)) if i not in gone]
    delta = -weight
    if kept:
        delta = delta.clone()
        delta[:, kept] += weight @ A[:, kept] @ torch.linalg.inv(A[kept][:, kept])
    return 0.5 * float((G @ delta @ A @ delta.T).trace())


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("waiting", [1, 4, 1000])
def test_prices_are_those_of_the_least_squares_solved_anew_at_every_step(k, waiting, monkeypatch):
    monkeypatch.setattr(elimination, "WAITING", waiting)
    A, G, weight = drawn(8 * k)
    going = Elimination(torch.linalg.inv(A), weight.T @ G @ weight, 8)
    spent, gone = 0.0, set()
    for index in (5, 0, 7, 2, 1, 6, 3, 4):
        prices = going.prices()
        for other in set(range(8)) - {i // k for i in gone}:
            expected = lost(A, G, weight, gone | set(range(other * k, (other + 1) * k)))
            assert spent + float(prices[other]) == pytest.approx(expected, rel=1e-8)
        assert all(float(prices[i // k]) == 0 for i in gone)
        spent += float(prices[index])
        gone |= set(range(index * k, (index + 1) * k))
        going.remove(index)


def test_a_column_that_nobody_reads_costs_nothing():
    A, G, weight = drawn(6)
    weight[:, 2] = 0
    prices = Elimination(torch.linalg.inv(A), weight.T @ G @ weight, 6).prices()
    assert float(prices[2]) == 0 and (prices[[0, 1, 3, 4, 5]] > 0).all()
