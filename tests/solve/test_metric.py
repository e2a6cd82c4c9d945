import pytest
import torch

from laconic.core.errors import UsageError
from laconic.solve import InputMetric


def moment(inputs: int, vectors: int, groups: int = 1, seed: int = 0) -> torch.Tensor:
    x = torch.randn(groups, vectors, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x * torch.linspace(0.2, 3, inputs, dtype=torch.float64)
    return x.mT @ x / vectors


def test_inputs_come_in_the_order_of_their_energy_and_ties_in_that_of_the_weight() -> None:
    metric = InputMetric.of(torch.diag(torch.tensor([1.0, 5.0, 2.0, 5.0, 0.0])).double()[None])
    assert metric.order.tolist() == [[1, 3, 2, 0, 4]]


def test_arranging_is_undone() -> None:
    metric = InputMetric.of(moment(7, 20, groups=3))
    matrix = torch.randn(3, 4, 7)
    arranged = metric.arrange(matrix)
    assert arranged.shape == (3, 7, 4)
    assert torch.equal(arranged[1, 2], matrix[1, :, metric.order[1, 2]])
    assert torch.equal(metric.restore(arranged), matrix)


def test_the_error_is_that_at_the_output_up_to_damping_and_one_factor_for_all_groups() -> None:
    second, change = moment(6, 50, groups=2), torch.randn(2, 3, 6)
    metric = InputMetric.of(second, damping=1e-9)
    expected = torch.einsum("goi,gij,goj->go", change.double(), second, change.double())
    ratio = metric.error(metric.arrange(change)) / expected
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-5)


def test_damping_is_a_share_of_the_mean_diagonal() -> None:
    plain, damped = (InputMetric.of(moment(5, 30), damping=d).moment[0] for d in (1e-12, 0.5))
    added = (damped - plain).diagonal()
    assert torch.allclose(added, (0.5 * plain.diagonal().mean()).expand(5))


@pytest.mark.parametrize("vectors", [1, 3, 8, 40])
def test_feedback_ahead_is_finite_with_fewer_vectors_than_inputs(vectors: int) -> None:
    second = moment(8, vectors)
    second[:, 3], second[:, :, 3] = 0, 0
    assert InputMetric.of(second).ahead.isfinite().all()


def test_a_group_that_nothing_reached_weighs_all_its_inputs_the_same() -> None:
    metric = InputMetric.of(torch.stack([moment(4, 20)[0], torch.zeros(4, 4, dtype=torch.float64)]))
    assert not metric.ahead[1].any()
    assert not metric.around[1].any()
    assert len(metric.moment[1].diagonal().unique()) == 1


def test_damping_that_is_not_positive_is_refused() -> None:
    with pytest.raises(UsageError, match=r"InputMetric\.damping: got 0"):
        InputMetric.of(moment(3, 9), damping=0)
