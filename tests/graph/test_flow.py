import torch
from torch import nn
from torch.nn import functional

from laconic.graph import capture, weighted_calls


def calls_of(model, *inputs):
    return weighted_calls(capture(model, inputs))


def short(ops):
    return [op.target.split(".")[1] if "." in op.target else op.target for op in ops]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        y = self.act(self.norm(self.first(x)))
        return self.head(self.pool(self.second(y) + y).flatten(1))


def test_chain_is_what_directly_follows_with_a_single_reader():
    first, second, head = calls_of(Residual(), torch.randn(2, 4, 6, 6))
    assert short(first.chain) == ["batch_norm", "relu_"]
    assert [op.module for op in first.chain] == ["norm", "act"]
    assert short(first.consumers) == ["conv2d", "add"]
    assert first.consumers[0].parameter == "second.weight" and first.consumers[1].parameter is None
    assert short(second.chain) == [] and short(second.consumers) == ["add"]
    assert short(head.consumers) == ["output"]


def test_calls_know_their_module_parameter_and_kind():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    found = [(c.module, c.parameter, c.kind) for c in calls_of(model, torch.randn(2, 3, 6, 6))]
    assert found == [("0", "0.weight", "conv"), ("1", "1.weight", "conv_transpose"), ("3", "3.weight", "linear")]


def test_reshaping_operators_between_a_call_and_its_consumer_are_looked_through():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    conv, _ = calls_of(model, torch.randn(2, 3, 6, 6))
    assert [op.parameter for op in conv.consumers] == ["3.weight"]


def test_shared_module_is_listed_once_for_every_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(functional.gelu(self.layer(x)))

    calls = calls_of(Twice(), torch.randn(2, 4))
    assert [c.module for c in calls] == ["layer", "layer"]
    assert [short(c.chain) for c in calls] == [["gelu"], []]


def test_bare_parameters_count_and_products_of_activations_do_not():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            y = x @ self.matrix
            return y @ y.transpose(1, 2)

    (call,) = calls_of(Bare(), torch.randn(2, 3, 4))
    assert (call.parameter, call.module, call.kind) == ("matrix", "", "linear")
    assert short(call.consumers) == ["matmul"]


def test_max_pooling_is_looked_through_and_average_pooling_is_not():
    for pool, expected in ((nn.MaxPool2d(2), "conv2d"), (nn.AvgPool2d(2), "avg_pool2d")):
        first, _ = calls_of(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Conv2d(4, 4, 3)), torch.randn(2, 3, 9, 9)
        )
        assert short(first.consumers) == [expected]
