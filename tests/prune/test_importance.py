import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from laconic.calibrate import calibrate
from laconic.calibrate.predictions import pull
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.importance import (
    ALL,
    Activation,
    Apoz,
    BatchNormScale,
    Compensated,
    Fisher,
    GeometricMedian,
    Known,
    Lamp,
    Magnitude,
    Random,
    Taylor,
    activity,
    slopes,
)


def analysed(model, x, evidence=False):
    graph = capture(model, (x,))
    found, task = axes(graph), Task(evaluate=[x])
    if not evidence:
        return found, Known(tensors=graph.tensors)
    return found, Known(
        tensors=graph.tensors,
        evidence=calibrate(model, task, activations=False),
        slopes=slopes(model, found, task, samples=1000),
        activity=activity(found, [((x,), {})]),
    )


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


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.needs])
def test_what_is_missing_is_said(kind, network):
    _, _, found, known = network
    with pytest.raises(UsageError, match=r"needs .* Pass a Task"):
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


def two_neurons():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
        model[2].weight.copy_(torch.tensor([[3.0, 4.0]]))
    return model


def test_taylor_of_a_hand_worked_loss_on_labels():
    # y = 3 + 8 = 11 and 22; d(y - label)^2/dy = 2 and 4; each neuron's path counts once in each of its two weights.
    model, x = two_neurons(), torch.ones(1, 1)
    batches = [(x, torch.tensor([[10.0]])), (2 * x, torch.tensor([[20.0]]))]
    found = axes(capture(model, (torch.ones(2, 1),)))
    task = Task(evaluate=batches, metric="mse")
    known = Known(tensors=found.graph.tensors, slopes=slopes(model, found, task, samples=10))
    assert known.slopes["0.weight[0]"].tolist() == [[12.0, 32.0], [48.0, 128.0]]
    removal = Taylor().removal(found.axes[0], known)
    assert removal.order.tolist() == [0, 1]
    assert removal.price.tolist() == [(12.0**2 + 48.0**2) / 2, (32.0**2 + 128.0**2) / 2]


def test_slopes_without_labels_are_those_of_answers_drawn_from_the_model():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([50.0, 0.0]))  # So sure of class 0 that every drawn answer is that class.
    x = torch.randn(8, 2)
    found = axes(capture(model, (x,)))
    drawn = slopes(model, found, Task(evaluate=[x]), samples=10)
    labelled = slopes(model, found, Task(evaluate=[(x, torch.zeros(8, dtype=torch.int64))]), samples=10)
    torch.testing.assert_close(drawn["0.weight[0]"], labelled["0.weight[0]"])
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_slope_of_a_flattened_axis_is_the_derivative_by_a_common_factor(network):
    model, x, found, known = network
    axis, factor = found["3.weight[0]"], torch.ones(3, dtype=torch.float64, requires_grad=True)
    twin = copy.deepcopy(model).double()
    inside = twin[2](twin[1](twin[0](x.double())))
    weight, columns = factor[:, None, None, None] * twin[3].weight, factor.repeat_interleave(16) * twin[5].weight
    logits = functional.conv2d(inside, weight, twin[3].bias).flatten(1) @ columns.T + twin[5].bias
    drawn = pull(logits.float(), None, torch.Generator().manual_seed(0), regression=False)
    (expected,) = torch.autograd.grad(logits, factor, drawn.error.double() / drawn.predictions)
    torch.testing.assert_close(known.slopes[axis.name][0], expected, rtol=1e-4, atol=1e-6)


def test_activations_of_a_hand_worked_network():
    model = two_neurons()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-2.0]]))
    found = axes(capture(model, (torch.ones(2, 1),)))
    # Behind the ReLU: neuron 0 gives 0, 1, 2, 3, neuron 1 gives 2, 0, 0, 0.
    batches = [((torch.tensor([[-1.0], [1.0]]),), {}), ((torch.tensor([[2.0], [3.0]]),), {})]
    known = Known(tensors=found.graph.tensors, activity=activity(found, batches))
    assert known.activity["0.weight[0]"].magnitude.tolist() == [1.5, 0.5]
    assert known.activity["0.weight[0]"].zeros.tolist() == [0.25, 0.75]
    strength = Activation().removal(found.axes[0], known)
    assert strength.order.tolist() == [1, 0] and strength.price.tolist() == [0.5, 1.5]
    often = Apoz().removal(found.axes[0], known)
    assert often.order.tolist() == [1, 0] and often.price.tolist() == [0.25, 0.75]


def test_activity_of_flattened_channels_counts_all_their_positions(network):
    model, x, _, known = network
    with torch.no_grad():
        read = model[:4](x)
    expected = read.double().abs().mean((0, 2, 3))
    torch.testing.assert_close(known.activity["3.weight[0]"].magnitude, expected, rtol=1e-5, atol=1e-7)


def test_an_axis_that_nothing_reads_stays_under_criteria_of_activations(network):
    _, _, found, known = network
    bare = Known(tensors=known.tensors, activity={}, slopes={})
    for kind in (Activation, Apoz, Taylor):
        assert kind().removal(found.axes[0], bare).price.isinf().all()
