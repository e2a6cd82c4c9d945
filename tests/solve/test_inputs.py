import pytest
import torch
from torch import nn

from laconic.calibrate import layers
from laconic.solve.inputs import Inputs, answer_to_change
from laconic.solve.vectors import vectors

MODULES = [
    (nn.Linear(6, 4), (3, 6)),
    (nn.Conv2d(4, 6, (3, 2), groups=2, padding=(2, 1)), (4, 9, 8)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), (4, 7)),
]


@pytest.mark.parametrize(("module", "shape"), MODULES, ids=[type(m).__name__ for m, _ in MODULES])
def test_the_answer_to_changed_inputs_is_the_least_squares_one(module: nn.Module, shape: tuple[int, ...]) -> None:
    before = torch.randn(60, *shape)
    after = before * 0.8 + 0.3 * torch.randn(before.shape)
    matrix = layers(nn.Sequential(module))[0].matrix(module.weight.detach())
    found = matrix + Inputs.of(module, before.split(8), after.split(8)).answering(matrix, 1e-9)
    x, changed = (torch.cat(list(vectors(module, v)), 1).double() for v in (before, after))
    wanted = torch.linalg.lstsq(changed, x @ matrix.double().mT).solution.mT
    assert torch.allclose(found, wanted, atol=1e-4)


def test_the_gain_is_the_error_that_a_change_takes_away() -> None:
    module, before = nn.Linear(6, 4), torch.randn(50, 6)
    after, change = before + 0.2 * torch.randn(50, 6), 0.1 * torch.randn(1, 4, 6)
    matrix = module.weight.detach()[None]
    errors = [(before @ matrix[0].T - after @ (matrix + d)[0].T).square().sum() for d in (0, change)]
    gain = Inputs.of(module, [before], [after]).gain(matrix, change.double())
    assert gain == pytest.approx(float(errors[0] - errors[1]), rel=1e-3)


def test_what_many_samples_teach_is_learnt() -> None:
    module, before = nn.Linear(6, 4), torch.randn(400, 6)
    mix = torch.eye(6) + 0.2 * torch.randn(6, 6)
    matrix, _ = answer_to_change(module, module.weight.detach()[None], before.split(50), (before @ mix).split(50))
    assert torch.allclose(matrix[0] @ mix.T, module.weight, atol=0.05)


def test_noise_teaches_nothing() -> None:
    module, before = nn.Linear(100, 4), torch.randn(60, 100)
    given, fresh = module.weight.detach()[None], torch.randn(1000, 100)
    noisy = [x + 0.1 * torch.randn(x.shape) for x in (before, fresh)]
    matrix, _ = answer_to_change(module, given, [before], [noisy[0]])

    def error(weight: torch.Tensor) -> float:
        return float((fresh @ given[0].T - noisy[1] @ weight[0].T).square().sum())

    assert error(matrix) <= 1.05 * error(given)


@pytest.mark.parametrize("inputs", [torch.randn(12, 6), torch.zeros(12, 6)], ids=["equal", "zero"])
def test_inputs_that_did_not_change_leave_the_matrix_as_it_is(inputs: torch.Tensor) -> None:
    module = nn.Linear(6, 4)
    given = module.weight.detach()[None]
    matrix, seen = answer_to_change(module, given, [inputs], [inputs])
    assert torch.equal(matrix, given)
    assert seen.positions == 12


def test_too_few_samples_to_hold_one_back_teach_nothing() -> None:
    module, x = nn.Linear(6, 4), torch.randn(3, 6)
    given = module.weight.detach()[None]
    matrix, seen = answer_to_change(module, given, [x], [x + 1])
    assert torch.equal(matrix, given)
    assert torch.allclose(seen.second[0], ((x + 1).T @ (x + 1)).double(), rtol=1e-5)


def test_samples_are_held_back_whatever_the_batches_are() -> None:
    module, before = nn.Linear(6, 4), torch.randn(40, 6)
    after, given = before * 0.5, module.weight.detach()[None]
    one, _ = answer_to_change(module, given, [before], [after])
    single, _ = answer_to_change(module, given, list(before.split(1)), list(after.split(1)))
    assert torch.allclose(one, single, atol=1e-5)
    assert not torch.equal(one, given)
