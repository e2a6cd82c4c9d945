"""The best values of weights of which some must be zero."""

import itertools

import torch

from laconic.solve.least_squares import least_squares


def problem(groups: int = 2, inputs: int = 12, outputs: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(groups, 40, inputs) @ torch.randn(inputs, inputs)
    moment = x.mT @ x / 40 + 0.01 * torch.eye(inputs)
    return torch.randn(groups, inputs, outputs), torch.rand(groups, inputs, outputs) < 0.5, moment


def test_the_solution_is_that_of_the_normal_equations_of_each_output() -> None:
    target, mask, moment = problem()
    found = least_squares(target, target * mask, mask, moment, steps=100)
    for group in range(2):
        for output in range(5):
            keep = mask[group, :, output]
            H = moment[group].double()
            wanted = (H @ target[group, :, output].double())[keep]
            expected = torch.linalg.solve(H[keep][:, keep], wanted)
            torch.testing.assert_close(found[group, keep, output].double(), expected, rtol=1e-3, atol=1e-3)
            assert (found[group, ~keep, output] == 0).all()


def test_no_output_gets_worse_however_few_the_steps() -> None:
    target, mask, moment = problem()
    start, errors = target * mask, []
    for steps in (0, 1, 2, 5, 20):
        change = least_squares(target, start, mask, moment, steps=steps) - target
        errors.append(((moment @ change) * change).sum(1))
    for before, after in itertools.pairwise(errors):
        assert (after <= before * (1 + 1e-5) + 1e-5).all()


def test_a_full_mask_gives_the_target_and_an_empty_one_nothing() -> None:
    target, _, moment = problem()
    everything = torch.ones_like(target, dtype=torch.bool)
    left = least_squares(target, torch.zeros_like(target), everything, moment, steps=100) - target
    assert ((moment @ left) * left).sum() < 1e-6 * ((moment @ target) * target).sum()
    assert not least_squares(target, target, ~everything, moment).any()


def test_a_target_of_zeros_is_finite() -> None:
    target, mask, moment = problem()
    assert not least_squares(target * 0, target * 0, mask, moment).any()
