import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from laconic.calibrate import Layer, layers
from laconic.core.errors import UsageError

KINDS = [
    Layer(parameter="w", kind="linear", shape=(6, 4)),
    Layer(parameter="w", kind="linear", shape=(6, 4), groups=3),
    Layer(parameter="w", kind="linear", shape=(4, 6), transposed=True),
    Layer(parameter="w", kind="linear", shape=(5, 6, 4), groups=5),
    Layer(parameter="w", kind="linear", shape=(5, 4, 6), groups=5, transposed=True),
    Layer(parameter="w", kind="conv", shape=(6, 2, 3), groups=2),
    Layer(parameter="w", kind="conv", shape=(6, 1, 3, 2), groups=6),
    Layer(parameter="w", kind="conv_transpose", shape=(4, 3, 3, 2), groups=2),
    Layer(parameter="w", kind="embedding", shape=(7, 3)),
]


@pytest.mark.parametrize("layer", KINDS, ids=str)
def test_weight_undoes_matrix(layer: Layer) -> None:
    weight = torch.randn(layer.shape)
    matrix = layer.matrix(weight)
    assert matrix.shape == layer.matrix_shape
    assert torch.equal(layer.weight(matrix), weight)


@pytest.mark.parametrize("layer", KINDS, ids=str)
def test_a_matrix_holds_every_weight_once(layer: Layer) -> None:
    weight = torch.arange(torch.Size(layer.shape).numel()).reshape(layer.shape)
    assert torch.equal(layer.matrix(weight).flatten().sort().values, weight.flatten())


@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.lists(st.integers(1, 3), max_size=3),
)
def test_weight_undoes_matrix_for_transposed_convolutions_of_any_shape(
    groups: int, inputs: int, outputs: int, kernel: list[int]
) -> None:
    layer = Layer(parameter="w", kind="conv_transpose", shape=(groups * inputs, outputs, *kernel), groups=groups)
    weight = torch.randn(layer.shape)
    assert torch.equal(layer.weight(layer.matrix(weight)), weight)


@pytest.mark.parametrize(
    ("layer", "axis"),
    [(KINDS[0], 0), (KINDS[2], 1), (KINDS[3], 1), (KINDS[4], 2), (KINDS[5], 0), (KINDS[7], 1), (KINDS[8], 0)],
)
def test_the_output_axis_counts_output_channels(layer: Layer, axis: int) -> None:
    assert layer.output_axis == axis


def test_a_tensor_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Layer\(w\).matrix: got \[4, 6\]; expected a tensor of shape \[6, 4\]"):
        KINDS[0].matrix(torch.zeros(4, 6))
    with pytest.raises(UsageError, match=r"Layer\(w\).weight: got \[6, 4\]; expected a tensor of shape \[1, 6, 4\]"):
        KINDS[0].weight(torch.zeros(6, 4))


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=3)
        self.rnn = nn.LSTM(4, 3, proj_size=2)
        self.norm = nn.LayerNorm(4)
        self.up = nn.ConvTranspose1d(4, 6, 3, groups=2)
        self.depthwise = nn.Conv2d(4, 8, 3, groups=4)
        self.shared = nn.Sequential(nn.Linear(4, 4, bias=False))
        self.again = self.shared[0]
        self.head = nn.Linear(4, 10)
        self.head.weight = self.embedding.weight
        self.lazy = nn.LazyLinear(3)


def test_layers_are_told_from_module_types() -> None:
    found = {layer.parameter: layer for layer in layers(Everything())}
    assert {name: (layer.kind, layer.shape, layer.groups) for name, layer in found.items()} == {
        "embedding.weight": ("linear", (10, 4), 1),
        "attention.q_proj_weight": ("linear", (4, 4), 1),
        "attention.k_proj_weight": ("linear", (4, 3), 1),
        "attention.v_proj_weight": ("linear", (4, 3), 1),
        "attention.out_proj.weight": ("linear", (4, 4), 1),
        "rnn.weight_ih_l0": ("linear", (12, 4), 1),
        "rnn.weight_hh_l0": ("linear", (12, 2), 1),
        "rnn.weight_hr_l0": ("linear", (2, 3), 1),
        "up.weight": ("conv_transpose", (4, 3, 3), 2),
        "depthwise.weight": ("conv", (8, 1, 3, 3), 4),
        "shared.0.weight": ("linear", (4, 4), 1),
    }
