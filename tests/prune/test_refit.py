import pytest
import torch
from torch import nn

from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.refit import Sums, refit


def analysed(model, *inputs):
    return axes(capture(model, inputs))


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


def lines():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.randn(80, 4)


def convolutions():
    body = [nn.Conv1d(2, 6, 3, padding=1), nn.Sigmoid(), nn.Conv1d(6, 4, 3, stride=2, dilation=2, padding=(1,))]
    return nn.Sequential(*body), torch.randn(20, 2, 12)


@pytest.mark.parametrize("made", [lines, convolutions])
def test_no_change_of_a_fitted_layer_makes_it_better(made):
    model, x = made()
    model, x = model.double(), x.double()
    found = analysed(model, x)
    keep = {found.axes[0]: torch.tensor([0, 2, 3])}
    values = refit(found, keep, [((x[:10],), {}), ((x[10:],), {})], damping=0.0)
    assert sorted(values) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    torch.testing.assert_close(values["0.weight"], model[0].weight[[0, 2, 3]])
    torch.testing.assert_close(values["0.bias"], model[0].bias[[0, 2, 3]])
    hidden = model[1](model[0](x))[:, [0, 2, 3]]
    weight, bias = values["2.weight"].requires_grad_(), values["2.bias"].requires_grad_()
    if made is lines:
        got = nn.functional.linear(hidden, weight, bias)
    else:
        got = nn.functional.conv1d(hidden, weight, bias, stride=2, dilation=2, padding=1)
    (got - model(x)).square().mean().backward()
    assert weight.grad.abs().max() < 1e-9 and bias.grad.abs().max() < 1e-9


def test_later_layers_mend_what_earlier_ones_left():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    x = torch.randn(400, 4, dtype=torch.float64)
    found = analysed(model, x)
    keep = {found["0.weight[0]"]: torch.arange(5)}
    values = refit(found, keep, [((x,), {})], damping=0.0)
    assert not torch.allclose(values["4.weight"], model[4].weight)


def test_batch_norm_takes_the_statistics_of_its_new_inputs():
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 2))
    model = model.eval().double()
    x = torch.randn(60, 4, dtype=torch.float64)
    found = analysed(model, x)
    keep = {found["0.weight[0]"]: torch.arange(3)}
    values = refit(found, keep, [((x[:20],), {}), ((x[20:],), {})])
    entering = x @ values["0.weight"].T @ values["1.weight"].T
    torch.testing.assert_close(values["2.running_mean"], entering.mean(0))
    torch.testing.assert_close(values["2.running_var"], entering.var(0, correction=0))


def test_grouped_convolutions_are_fitted_group_by_group():
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Tanh(), nn.Conv2d(8, 4, 1, groups=2)).double()
    x = torch.randn(30, 1, 3, 3, dtype=torch.float64)
    found = analysed(model, x)
    within = next(axis for axis in found if axis.size == 4)
    values = refit(found, {within: torch.tensor([0, 1, 3])}, [((x,), {})], damping=0.0)
    hidden = torch.tanh(model[0](x))[:, [4, 5, 7]].transpose(0, 1).flatten(1)
    wanted = model(x)[:, 2:].transpose(0, 1).flatten(1)
    design = torch.cat([hidden, torch.ones_like(hidden[:1])]).T
    expected = torch.linalg.lstsq(design, wanted.T).solution
    torch.testing.assert_close(values["2.weight"][2:, :, 0, 0], expected[:3].T)


def test_a_parameter_that_is_used_twice_keeps_its_values():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.same, self.down = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.down(self.same(self.same(self.up(x))))

    x = torch.randn(20, 3)
    found = analysed(Twice(), x)
    values = refit(found, {found.axes[0]: torch.arange(4)}, [((x,), {})])
    assert "same.weight" not in values and "down.weight" in values
