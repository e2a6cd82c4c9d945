import pytest
import torch
from torch import nn

from laconic.calibrate import layers
from laconic.solve.vectors import channel_axis, vectors

MODULES = [
    (nn.Linear(6, 4), (5, 3, 6)),
    (nn.Conv1d(4, 6, 3, padding=1, stride=2), (3, 4, 11)),
    (nn.Conv2d(4, 6, (3, 2), groups=2, dilation=2, padding=(2, 1)), (2, 4, 9, 8)),
    (nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 3)),
    (nn.Conv2d(4, 4, (3, 2), padding=(2, 1), padding_mode="reflect"), (2, 4, 6, 5)),
    (nn.Conv2d(4, 4, (4, 3), padding="same", dilation=(1, 2), padding_mode="circular"), (2, 4, 6, 7)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 6)),
]
every_module = pytest.mark.parametrize(("module", "shape"), MODULES, ids=[type(m).__name__ for m, _ in MODULES])


@every_module
def test_the_layers_matrix_times_the_vectors_is_the_modules_output(module: nn.Module, shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape)
    layer = layers(nn.Sequential(module))[0]
    found = torch.cat([rows @ layer.matrix(module.weight).mT for rows in vectors(module, inputs)], 1)
    wanted = (module(inputs) - module(torch.zeros_like(inputs))).movedim(channel_axis(module), 0).flatten(1)
    assert torch.allclose(found.mT.reshape(wanted.shape), wanted, atol=1e-5)
