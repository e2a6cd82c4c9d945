import torch
from torch import nn

from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error, zeroed_outputs

from .axes.patterns import PATTERNS, analysed


def test_zeroed_outputs_are_those_of_the_model_with_zeroed_parameters():
    model, found, inputs = analysed("bare_parameters")
    expected = PATTERNS["bare_parameters"]()[0].double()
    expected.load_state_dict(model.state_dict())
    with torch.no_grad():
        for tensor in (expected.first[3:], expected.bias[3:], expected.scale[3:], expected.second[3:]):
            tensor.zero_()
        (got,) = zeroed_outputs(found, {found["first[0]"]: torch.arange(3)}, inputs, {})
    torch.testing.assert_close(got, expected(*inputs))


def test_wrongly_coupled_cut_is_caught():
    _, found, inputs = analysed("channel_shuffle")
    _, within = found
    other = cut(found, {within: torch.tensor([0, 1])})
    assert cut_error(found, {within: torch.tensor([0, 2])}, other, inputs, {}) > 0.01


def test_output_of_another_shape_is_an_infinite_error():
    _, found, inputs = analysed("plain_cnn")
    assert cut_error(found, {}, nn.Flatten(), inputs, {}) == float("inf")


def test_mean_over_a_cut_axis_is_taken_over_what_is_kept():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    found = axes(capture(model, (x,)))
    keep = {found["0.weight[0]"]: torch.tensor([0, 3, 5])}
    kept = model[0](x)[:, [0, 3, 5]]
    normal = nn.functional.layer_norm(kept, (3,), model[1].weight[[0, 3, 5]], model[1].bias[[0, 3, 5]])
    expected = normal @ model[2].weight[:, [0, 3, 5]].T + model[2].bias
    torch.testing.assert_close(zeroed_outputs(found, keep, (x,), {})[0], expected)
    assert cut_error(found, keep, cut(found, keep), (x,), {}) < 1e-5


def test_constants_in_the_code_are_cut_too():
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            scale = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
            return self.second((self.first(x) * scale)[:, torch.tensor([5, 0, 3, 2, 1, 4])])

    x = torch.randn(3, 4)
    found = axes(capture(Shuffled(), (x,)))
    keep = {found["second.weight[1]"]: torch.tensor([0, 2, 3])}
    assert cut_error(found, keep, cut(found, keep), (x,), {}) < 1e-5


def test_zero_outputs_are_compared_absolutely():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    found = axes(capture(model, (torch.randn(3, 4),)))
    assert cut_error(found, {}, cut(found, {}), (torch.randn(3, 4),), {}) == 0.0
