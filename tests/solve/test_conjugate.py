"""Conjugate gradients."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.solve import conjugate_gradients


def system(size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size + 3, generator=generator, dtype=torch.float64)
    return root @ root.T, torch.randn(size, generator=generator, dtype=torch.float64)


def test_as_many_steps_as_unknowns_solve_the_system() -> None:
    matrix, right = system(9)
    found = conjugate_gradients(lambda x: matrix @ x, right, torch.zeros(9).double(), matrix.diagonal(), steps=9)
    assert torch.allclose(found, torch.linalg.solve(matrix, right), rtol=1e-4)


@given(size=st.integers(1, 8), steps=st.integers(0, 4), seed=st.integers(0, 99))
def test_no_step_leads_away_from_the_solution(size: int, steps: int, seed: int) -> None:
    matrix, right = system(size, seed)
    start = torch.ones(size).double()
    found = conjugate_gradients(lambda x: matrix @ x, right, start, matrix.diagonal(), steps=steps)
    before, after = (x @ matrix @ x - 2 * x @ right for x in (start, found))
    assert after <= before + 1e-9 * before.abs()


def test_unknowns_that_do_not_matter_stay_and_a_solution_is_left_alone() -> None:
    matrix = torch.diag(torch.tensor([2.0, 0.0]))
    found = conjugate_gradients(
        lambda x: matrix @ x, torch.tensor([4.0, 0.0]), torch.tensor([0.0, 7.0]), matrix.diagonal(), steps=5
    )
    assert found.tolist() == [2.0, 7.0]
    again = conjugate_gradients(lambda x: matrix @ x, torch.tensor([4.0, 0.0]), found, matrix.diagonal(), steps=5)
    assert torch.equal(again, found)
