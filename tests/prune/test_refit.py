import pytest
import torch
from torch import nn

from laconic.core.apply import apply
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.attributes import known_attributes
from laconic.prune.cuts import cuts
from laconic.prune.refit import refit


def analysed(model, *inputs):
    return axes(capture(model, inputs))


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


def normalised():
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 2))
    model = model.eval().double()
    model[2].running_var.uniform_(0.5, 2)
    found, x = analysed(model, torch.randn(2, 4, dtype=torch.float64)), torch.randn(60, 4, dtype=torch.float64)
    return model, x, found, {found["0.weight[0]"]: torch.arange(3)}, [((x[:20],), {}), ((x[20:],), {})]


def test_batch_norm_alone_takes_the_statistics_of_its_new_inputs():
    model, x, found, keep, batches = normalised()
    values = refit(found, keep, batches, weights=False)
    assert sorted(values) == ["2.running_mean", "2.running_var"]
    entering = x @ model[0].weight[:3].T @ model[1].weight[:, :3].T
    torch.testing.assert_close(values["2.running_mean"], entering.mean(0))
    torch.testing.assert_close(values["2.running_var"], entering.var(0, correction=0))


def test_the_constant_of_a_layer_without_bias_goes_into_the_mean_behind_it():
    model, x, found, keep, batches = normalised()
    x += torch.tensor([3.0, -2.0, 1.0, 0.0])
    values = refit(found, keep, batches, damping=0.0)
    assert "2.running_var" not in values
    hidden, wanted = x @ model[0].weight[:3].T, x @ model[0].weight.T @ model[1].weight.T
    design = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
    expected = torch.linalg.lstsq(design, wanted).solution
    torch.testing.assert_close(values["1.weight"], expected[:3].T)
    torch.testing.assert_close(values["2.running_mean"], model[2].running_mean - expected[3])


def test_a_layer_without_bias_and_normalisation_is_fitted_without_a_constant():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2, bias=False)).double()
    x = torch.randn(50, 4, dtype=torch.float64) + 1
    found = analysed(model, x)
    values = refit(found, {found.axes[0]: torch.arange(3)}, [((x,), {})], damping=0.0)
    expected = torch.linalg.lstsq(model[0](x)[:, :3], model(x)).solution
    torch.testing.assert_close(values["1.weight"], expected.T)


def test_a_normalisation_that_follows_no_layer_is_fitted_channel_by_channel():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.norm = nn.Linear(3, 8), nn.Linear(4, 2), nn.BatchNorm1d(4)
            self.mixed = nn.Parameter(torch.eye(8)[:, :4] + torch.rand(8, 4))

        def forward(self, x):
            return self.down(self.norm(self.up(x).tanh() @ self.mixed))

    torch.manual_seed(0)
    model, x = Split().eval().double(), torch.randn(40, 3, dtype=torch.float64)
    found = analysed(model, x)
    values = refit(found, {found["mixed[0]"]: torch.arange(7)}, [((x,), {})], damping=0.0)
    before = model.up(x).tanh() @ model.mixed
    after = model.up(x).tanh()[:, :7] @ model.mixed[:7]
    scale = (values["norm.running_var"] + model.norm.eps).rsqrt()
    shift = -values["norm.running_mean"] * scale
    wanted = before / (1 + model.norm.eps) ** 0.5
    for channel in range(4):
        design = torch.stack([after[:, channel], torch.ones(40, dtype=torch.float64)], 1)
        line = torch.linalg.lstsq(design, wanted[:, channel : channel + 1]).solution.flatten()
        torch.testing.assert_close(torch.stack([scale[channel], shift[channel]]), line)


class Residual(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.first, self.stem = nn.Linear(4, 6), nn.Linear(6, 8)
        self.block, self.norm = nn.Linear(8, 8, bias=not norm), nn.BatchNorm1d(8) if norm else nn.Dropout(0.1)
        self.head = nn.Linear(8, 2)

    def sum(self, x):
        x = torch.relu(self.stem(torch.tanh(self.first(x))))
        return x + self.norm(self.block(x))

    def forward(self, x):
        return self.head(torch.relu(self.sum(x)))


@pytest.mark.parametrize("norm", [False, True])
def test_a_branch_mends_what_the_other_one_lacks(norm):
    torch.manual_seed(0)
    model, x = Residual(norm).eval().double(), torch.randn(90, 4, dtype=torch.float64)
    if norm:
        model.norm.running_var.uniform_(0.5, 2)
        model.norm.running_mean.normal_()
    found = analysed(model, x)
    keep = {found["first.weight[0]"]: torch.tensor([0, 2, 3])}
    values = refit(found, keep, [((x[:50],), {}), ((x[50:],), {})], damping=0.0)
    smaller = apply(model, cuts(model, found, keep, (known_attributes,)))
    held = {**dict(smaller.named_parameters()), **dict(smaller.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            held[name].copy_(value)
    lost = smaller.sum(x) - model.sum(x)
    lost.square().mean().backward()
    assert float(lost.detach().square().mean()) > 1e-4
    assert smaller.block.weight.grad.abs().max() < 1e-9
    torch.testing.assert_close(lost.mean(0), torch.zeros(8, dtype=torch.float64))


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
