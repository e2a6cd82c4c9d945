import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from laconic.graph import capture, costs


def costs_of(model, *inputs):
    return costs(capture(model, inputs))


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x))


class TiedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


class BareMatrices(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(4, 6))
        self.second = nn.Parameter(torch.randn(6, 5))
        self.third = nn.Parameter(torch.randn(3, 5))

    def forward(self, x):
        return torch.einsum("btj,oj->bto", x @ self.first @ self.second, self.third)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class FixedBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x):
        return self.layer(x.view(3, 4))


class RowsPickedByValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x):
        return self.layer(x[x[:, 0] > 0])


# Each figure is worked out by hand: positions of the output times weights that reach each of them.
BY_HAND = {
    "linear": (nn.Linear(5, 7), (2, 5), 5 * 7),
    "linear over tokens": (nn.Linear(5, 7), (2, 3, 5), 3 * 5 * 7),
    "conv1d strided": (nn.Conv1d(4, 6, 3, stride=2), (2, 4, 9), 4 * (6 * 4 * 3)),
    "conv2d padded": (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 7), 35 * (6 * 4 * 9)),
    "conv2d grouped": (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5), 9 * (6 * 2 * 9)),
    "conv2d depthwise": (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 5, 5), 9 * (4 * 9)),
    "conv2d dilated": (nn.Conv2d(4, 6, 3, dilation=2), (2, 4, 7, 7), 9 * (6 * 4 * 9)),
    "conv2d same": (nn.Conv2d(4, 6, 3, padding="same"), (2, 4, 5, 5), 25 * (6 * 4 * 9)),
    "conv3d": (nn.Conv3d(2, 3, 2), (2, 2, 3, 3, 3), 8 * (3 * 2 * 8)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5), 5 * (4 * 6 * 3)),
    "conv_transpose2d grouped": (nn.ConvTranspose2d(4, 6, 2, groups=2), (2, 4, 5, 5), 25 * (4 * 3 * 4)),
    "two calls": (CalledTwice(), (2, 4), 2 * 16),
    "bare matrices": (BareMatrices(), (2, 3, 4), 3 * (4 * 6 + 6 * 5 + 5 * 3)),
    "attention": (SelfAttention(), (2, 5, 16), 5 * (48 * 16 + 16 * 16) + 2 * (4 * 5 * 5 * 4)),
    "lstm": (nn.LSTM(6, 8, batch_first=True), (2, 5, 6), 5 * 4 * 8 * (6 + 8)),
    "lstm bidirectional, two layers": (
        nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True),
        (2, 5, 6),
        5 * 2 * (4 * 8 * (6 + 8) + 4 * 8 * (16 + 8)),
    ),
    "gru": (nn.GRU(6, 8, batch_first=True), (2, 5, 6), 5 * 3 * 8 * (6 + 8)),
    "gru cell": (nn.GRUCell(6, 8), (2, 6), 3 * 8 * (6 + 8)),
    "bilinear free": (nn.BatchNorm2d(3), (2, 3, 4, 4), 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_macs_are_those_worked_out_by_hand(name):
    model, shape, expected = BY_HAND[name]
    assert costs_of(model, torch.randn(shape)).macs == expected


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_costs_do_not_depend_on_the_batch_of_the_example(batch):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    found = costs_of(model, torch.randn(batch, 3, 5, 5))
    assert found == costs_of(model, torch.randn(3, 3, 5, 5))


def test_fixed_batch_is_divided_out():
    assert costs_of(FixedBatch(), torch.randn(3, 4)).macs == 4 * 5


def test_macs_are_told_by_parameter():
    found = costs_of(SelfAttention(), torch.randn(2, 5, 16))
    assert found.macs_by_parameter == {
        "attention.in_proj_weight": 5 * 48 * 16,
        "attention.out_proj.weight": 5 * 16 * 16,
    }
    assert found.other_macs == 2 * (4 * 5 * 5 * 4)


def test_look_ups_are_free_and_a_tied_matrix_counts_once_in_size():
    found = costs_of(TiedHead(), torch.randint(10, (2, 3)))
    assert found.macs_by_parameter == {"embed.weight": 3 * 4 * 10}
    assert (found.parameter_count, found.parameter_bytes) == (40, 160)


def test_normalised_weight_is_booked_on_the_larger_of_its_parts():
    found = costs_of(weight_norm(nn.Linear(4, 5)), torch.randn(2, 4))
    assert found.macs_by_parameter == {"parametrizations.weight.original1": 20}


def test_half_precision_halves_the_bytes():
    assert costs_of(nn.Linear(4, 5).bfloat16(), torch.randn(2, 4).bfloat16()).parameter_bytes == 2 * 25


def test_peak_counts_activations_alive_at_once():
    class Chain(nn.Module):
        def forward(self, x):
            y = x.repeat(1, 3)  # 4 + 12 elements alive
            return functional.relu(y).sum(1)  # relu: 4 + 12 + 12

    assert costs_of(Chain(), torch.randn(2, 4)).activation_peak_bytes == 4 * (4 + 12 + 12)


def test_views_and_in_place_operators_take_no_memory():
    class Views(nn.Module):
        def forward(self, x):
            y = x + 1
            return y.relu_().view(-1, 2, 2).transpose(1, 2)

    assert costs_of(Views(), torch.randn(2, 4)).activation_peak_bytes == 4 * (4 + 4)


def test_operator_whose_size_the_data_decides_is_named():
    found = costs_of(RowsPickedByValue(), torch.randn(6, 4))
    assert found.unknown == ("aten.linear.default",)
    assert "without aten.linear.default" in str(found)
