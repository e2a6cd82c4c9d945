import math

import pytest
import torch
from torch import Tensor, nn

from laconic.core.errors import UsageError
from laconic.distill import Pair, PathBalance


def gates(rows: list[list[float]]) -> Tensor:
    """The arguments of the sigmoids for given probabilities of going right."""
    return torch.tensor(rows, dtype=torch.float64).logit().requires_grad_()


def penalty(module: nn.Module, given: Tensor) -> Tensor:
    found: Tensor = module(Pair(student=given, teacher=given))
    return found


def fresh(given: Tensor, decay: float = 0.9) -> nn.Module:
    return PathBalance(decay=decay).module(Pair(student=given, teacher=given)).double()


def test_a_hand_worked_value_of_one_node() -> None:
    given = gates([[0.9], [0.5]])
    assert penalty(fresh(given), given).item() == pytest.approx(-0.5 * (math.log(0.7) + math.log(0.3)), rel=1e-6)


def test_a_hand_worked_value_of_depth_two() -> None:
    given = gates([[0.8, 0.5, 0.25], [0.4, 0.1, 0.5]])
    # The root sends 0.6 right; its left child (0.2 * 0.5 + 0.6 * 0.1) / 0.8, its right one (0.8 / 4 + 0.4 / 2) / 1.2.
    root, left, right = 0.6 * 0.4, 0.2 * 0.8, 1 / 3 * 2 / 3
    expected = -0.5 * (math.log(root) + (math.log(left) + math.log(right)) / 2)
    assert penalty(fresh(given), given).item() == pytest.approx(expected, rel=1e-6)


def test_the_running_share_weighs_old_batches_by_the_decay() -> None:
    first, second = gates([[0.7]]), gates([[0.3]])
    module = fresh(first, decay=0.5)
    penalty(module, first)
    share = (0.25 * 0.7 + 0.5 * 0.3) / (0.25 + 0.5)
    found = penalty(module, second)
    assert found.item() == pytest.approx(-0.5 * (math.log(share) + math.log(1 - share)), rel=1e-6)
    found.backward()
    slope = -0.5 * (1 / share - 1 / (1 - share)) * 0.3 * 0.7  # At the running share, by the share of the batch.
    assert second.grad is not None
    assert second.grad.item() == pytest.approx(slope, rel=1e-6)


def test_the_window_doubles_with_each_level() -> None:
    first, second = gates([[0.5, 0.7, 0.5]]), gates([[0.5, 0.3, 0.5]])
    module = fresh(first, decay=0.5)
    penalty(module, first)
    found = penalty(module, second)
    # A quarter of each batch enters below the root; half of all samples go there, which cancels.
    share = (0.75 * 0.25 * 0.7 + 0.25 * 0.3) / (0.75 * 0.25 + 0.25)
    expected = 1.5 * math.log(2) - 0.25 * (math.log(share) + math.log(1 - share))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_first_gradient_pulls_a_one_sided_node_towards_one_half() -> None:
    given = gates([[0.99], [0.97]])
    penalty(fresh(given), given).backward()
    assert given.grad is not None
    assert (given.grad > 0).all()


def test_without_gradients_nothing_is_remembered() -> None:
    given = gates([[0.9]])
    module = fresh(given)
    with torch.no_grad():
        penalty(module, given)
    assert all((buffer == 0).all() for buffer in (module.reached, module.right))


def test_a_node_that_no_sample_reaches_stays_finite() -> None:
    given = torch.tensor([[1e4, 0.0, 1e4]], requires_grad=True)
    found = penalty(PathBalance().module(Pair(student=given, teacher=given)), given)
    found.backward()
    assert found.isfinite()
    assert given.grad is not None
    assert given.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 3), (4,)])
def test_features_that_are_no_gates_are_refused(shape: tuple[int, ...]) -> None:
    features = torch.zeros(shape)
    with pytest.raises(UsageError, match="Match the layer 'gates'"):
        PathBalance().module(Pair(student=features, teacher=features))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_outside_its_domain_is_refused(decay: float) -> None:
    with pytest.raises(UsageError, match=r"PathBalance\.decay"):
        PathBalance(decay=decay)
