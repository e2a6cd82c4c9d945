import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.importance import (
    ALL,
    BatchNormScale,
    Compensated,
    Fisher,
    GeometricMedian,
    Known,
    Lamp,
    Magnitude,
    Random,
)


def analysed(model, x, evidence=False):
    graph = capture(model, (x,))
    task = Task(evaluate=[x])
    found = calibrate(model, task, activations=False) if evidence else None
    return axes(graph), Known(tensors=graph.tensors, evidence=found)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 2), nn.Flatten())
    model.append(nn.Linear(48, 4)).eval()
    with torch.no_grad():
        model[1].weight.uniform_(0.5, 1.5)
    x = torch.randn(64, 2, 7, 7)
    return model, x, *analysed(model, x, evidence=True)


@pytest.mark.parametrize("kind", ALL)
def test_every_criterion_orders_all_indices_at_prices_that_are_not_negative_twice_the_same(kind, network):
    _, _, found, known = network
    for axis in found:
        first, second = kind().removal(axis, known), kind().removal(axis, known)
        assert first.order.sort().values.tolist() == list(range(axis.size))
        assert (first.price >= 0).all() and first.price.dtype == torch.float64
        assert torch.equal(first.order, second.order) and torch.equal(first.price, second.price)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.needs_evidence])
def test_missing_evidence_is_said(kind, network):
    _, _, found, known = network
    with pytest.raises(UsageError, match="needs evidence"):
        kind().removal(found.axes[0], Known(tensors=known.tensors))


@pytest.mark.parametrize("setting", [lambda: Magnitude(norm=3), lambda: Compensated(damping=0.0)])
def test_settings_outside_their_domain_are_refused(setting):
    with pytest.raises(UsageError, match="expected"):
        setting()


@pytest.mark.parametrize("norm", [1, 2])
def test_magnitude_sums_over_everything_that_goes(norm, network):
    model, _, found, known = network
    first, second = model[0].weight.double(), model[3].weight.double()
    both = torch.cat([first.flatten(1), second.transpose(0, 1).flatten(1)], 1)
    scores = both.norm(norm, dim=1)
    removal = Magnitude(norm=norm).removal(found["0.weight[0]"], known)
    torch.testing.assert_close(removal.price, (scores / scores.mean()).sort().values)
    assert torch.equal(removal.order, scores.argsort())


def test_flattened_channels_count_all_their_positions():
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Flatten(), nn.Linear(12, 2))
    found, known = analysed(model, torch.randn(2, 1, 2, 2))
    scores = model[0].weight.abs().sum((1, 2, 3)) + model[2].weight.abs().reshape(2, 3, 4).sum((0, 2))
    assert torch.equal(Magnitude().removal(found.axes[0], known).order, scores.argsort())


def test_lamp_of_hand_worked_squares():
    model = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0], [1.0], [0.0]]))
        model[2].weight.copy_(torch.tensor([[0.0, 0.0, 3.0]]))
    found, known = analysed(model, torch.randn(2, 1))
    removal = Lamp().removal(found.axes[0], known)
    assert removal.order.tolist() == [1, 0, 2]
    torch.testing.assert_close(removal.price, torch.tensor([1 / 14, 4 / 13, 1.0], dtype=torch.float64))


def test_geometric_median_takes_the_middle_first():
    model = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[5.0], [4.0], [1.0]]))
        model[2].weight.fill_(1)
    found, known = analysed(model, torch.randn(2, 1))
    removal = GeometricMedian().removal(found.axes[0], known)
    assert removal.order.tolist() == [1, 0, 2]
    torch.testing.assert_close(removal.price, torch.tensor([4.0, 5.0, 7.0], dtype=torch.float64) / (16 / 3))


def test_batch_norm_scale_is_the_order_of_gamma_and_nothing_without_one(network):
    model, _, found, known = network
    removal = BatchNormScale().removal(found["0.weight[0]"], known)
    assert torch.equal(removal.order, model[1].weight.argsort())
    assert BatchNormScale().removal(found["3.weight[0]"], known).price.isinf().all()


def test_random_depends_on_the_seed_alone_and_leaves_the_global_generator(network):
    _, _, found, known = network
    before = torch.get_rng_state()
    orders = {seed: Random(seed=seed).removal(found.axes[0], known).order.tolist() for seed in range(8)}
    assert torch.equal(torch.get_rng_state(), before)
    assert len({tuple(order) for order in orders.values()}) > 1


def test_fisher_is_the_sum_of_its_diagonals(network):
    _, _, found, known = network
    axis = found["3.weight[0]"]
    expected = torch.zeros(3, dtype=torch.float64)
    for name, rows in (("3.weight", True), ("5.weight", False)):
        use = known.evidence.layers[name]
        matrix = use.layer.matrix(known.tensors[name].detach().double())[0]
        for o in range(matrix.shape[0]):
            for i in range(matrix.shape[1]):
                index = o if rows else i // 16
                expected[index] += 0.5 * use.G[0, o, o] * use.A[0, i, i] * matrix[o, i] ** 2
    removal = Fisher().removal(axis, known)
    torch.testing.assert_close(removal.price, expected.sort().values)


def brute_force(use, weight, gone, damping):
    """The nats lost, in float64, with the least squares solved anew for each set of columns."""
    A, G = use.A[0], use.G[0]
    A = A + damping * A.diagonal().mean() * torch.eye(len(A), dtype=torch.float64)
    matrix = use.layer.matrix(weight.detach().double())[0]
    kept = [i for i in range(len(A)) if i not in gone]
    new = torch.zeros_like(matrix)
    new[:, kept] = matrix @ A[:, kept] @ torch.linalg.inv(A[kept][:, kept])
    delta = new - matrix
    return 0.5 * float((G @ delta @ A @ delta.T).trace())


def test_compensated_price_is_that_of_the_least_squares_solved_anew(network):
    model, _, found, known = network
    use = known.evidence.layers["3.weight"]
    removal = Compensated(damping=1e-3).removal(found["0.weight[0]"], known)
    spent, gone = 0.0, []
    for index, price in zip(removal.order.tolist(), removal.price.tolist(), strict=True):
        options = {
            i: brute_force(use, model[3].weight, {4 * j + k for j in [*gone, i] for k in range(4)}, 1e-3)
            for i in range(5)
            if i not in gone
        }
        assert options[index] == pytest.approx(min(options.values()), rel=1e-6)
        spent += price
        gone.append(index)
        assert spent == pytest.approx(options[index], rel=1e-6)


def test_a_channel_that_others_predict_costs_next_to_nothing():
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[2] = model[0].weight[0] + model[0].weight[1]
    found, known = analysed(model, torch.randn(100, 4), evidence=True)
    removal = Compensated(damping=1e-8).removal(found.axes[0], known)
    assert removal.price[0] < 1e-3 * removal.price[1]


def test_grouped_and_transposed_readers_are_priced_per_group():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, groups=2), nn.Flatten())
    model.append(nn.Linear(100, 3))
    found, known = analysed(model, torch.randn(32, 2, 4, 4), evidence=True)
    use = known.evidence.layers["2.weight"]
    axis = next(axis for axis in found if axis.size == 4)
    removal = Compensated(damping=1e-3).removal(axis, known)
    index = int(removal.order[0])
    columns = {index * 4 + k for k in range(4)}
    total = 0.0
    for group in range(2):
        A, G = use.A[group], use.G[group]
        A = A + 1e-3 * A.diagonal().mean() * torch.eye(len(A), dtype=torch.float64)
        matrix = use.layer.matrix(model[2].weight.detach().double())[group]
        kept = [i for i in range(len(A)) if i not in columns]
        delta = -matrix
        delta[:, kept] += matrix @ A[:, kept] @ torch.linalg.inv(A[kept][:, kept])
        total += 0.5 * float((G @ delta @ A @ delta.T).trace())
    assert float(removal.price[0]) == pytest.approx(total, rel=1e-6)


def test_an_axis_that_no_evidence_reaches_stays():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6))

        def forward(self, x):
            return (x.sum(1, keepdim=True) * self.first * self.second).mean(1, keepdim=True)

    found, known = analysed(Scaled(), torch.randn(4, 3), evidence=True)
    assert Compensated().removal(found.axes[0], known).price.isinf().all()
