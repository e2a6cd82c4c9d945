import pytest
import torch

from laconic.calibrate import Layer
from laconic.core.blocks import Blocks
from laconic.quantize.view import View
from laconic.solve import InputMetric

LAYERS = [
    Layer(parameter="w", kind="linear", shape=(4, 4)),
    Layer(parameter="w", kind="linear", shape=(4, 4), transposed=True),
    Layer(parameter="w", kind="linear", shape=(6, 4), groups=3),
    Layer(parameter="w", kind="linear", shape=(2, 3, 4), groups=2),
    Layer(parameter="w", kind="conv", shape=(6, 2, 3), groups=2),
    Layer(parameter="w", kind="conv_transpose", shape=(4, 3, 2), groups=2),
    Layer(parameter="w", kind="conv_transpose", shape=(4, 3, 2)),
    Layer(parameter="w", kind="embedding", shape=(4, 4)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.kind} {layer.shape} {layer.groups}")
@pytest.mark.parametrize("group_size", [None, 3])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_values_reach_the_elements_of_their_block_and_sums_come_back(
    layer: Layer, group_size: int | None, axis: int | None
) -> None:
    blocks = Blocks(shape=layer.shape, axis=axis, group_size=None if axis is None else group_size)
    groups, _, inputs = layer.matrix_shape
    x = torch.randn(groups, 50, inputs).double() * torch.arange(1, inputs + 1)
    view = View(layer, blocks, InputMetric.of(x.mT @ x))
    values, weight = torch.randn(blocks.count), torch.randn(layer.shape)
    by_hand = blocks.join(values[:, None].expand(-1, blocks.length).contiguous())
    assert torch.equal(view.restore(view.spread(values).contiguous()), by_hand)
    torch.testing.assert_close(view.total(view.arrange(weight)), blocks.split(weight).sum(1))
