"""A layer's weight as matrices with columns in a wanted order."""

import pytest
import torch

from laconic.calibrate import Layer
from laconic.calibrate.view import View
from prune.weights.samples import LAYERS, weight_of


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("layer", [layer for layer in LAYERS.values() if layer.kind != "embedding"], ids=str)
def test_columns_are_the_inputs_that_it_says(layer: Layer, whole: bool) -> None:
    view, weight = View.of(layer, whole_kernels=whole), weight_of(layer)
    assert torch.equal(view.layout.view(weight), layer.matrix(weight)[:, :, view.columns])
    assert torch.equal(view.columns.sort().values, torch.arange(layer.matrix_shape[2]))


def test_a_convolution_has_its_kernels_or_its_channels_side_by_side() -> None:
    weight = torch.arange(8).view(1, 2, 2, 2)  # Two channels of 2 x 2.
    layer = Layer(parameter="w", kind="conv", shape=(1, 2, 2, 2))
    assert View.of(layer, whole_kernels=True).layout.view(weight).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert View.of(layer, whole_kernels=False).layout.view(weight).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_an_embedding_has_the_rows_that_are_looked_up() -> None:
    weight = weight_of(LAYERS["embedding"])
    assert torch.equal(View.of(LAYERS["embedding"], whole_kernels=False).layout.view(weight)[0], weight)


@pytest.mark.parametrize("whole", [False, True])
def test_a_moment_follows_the_columns_and_numbers_go_to_the_weights_they_belong_to(whole: bool) -> None:
    layer = LAYERS["conv"]
    view, (groups, outputs, inputs) = View.of(layer, whole_kernels=whole), layer.matrix_shape
    x, weight = torch.randn(groups, inputs, 50, dtype=torch.float64), weight_of(layer).double()
    answers = view.layout.view(weight) @ x[:, view.columns]
    moment = x @ x.mT
    expected = (layer.matrix(weight) @ moment @ layer.matrix(weight).mT).diagonal(dim1=1, dim2=2).sum()
    assert torch.allclose((view.layout.view(weight) @ view.moment(moment) * view.layout.view(weight)).sum(), expected)
    assert torch.allclose(answers, layer.matrix(weight) @ x)
    numbers = torch.arange(outputs, dtype=torch.float32).expand(groups, outputs)
    assert torch.equal(layer.matrix(view.spread_outputs(numbers))[0, :, 3], numbers[0])
    energy = torch.arange(inputs, dtype=torch.float32).expand(groups, inputs)
    assert torch.equal(layer.matrix(view.spread(energy))[0, 1], energy[0])
