"""Ranges of channels and of vectors mean in ONNX Runtime what they mean in PyTorch."""

import numpy as np
import pytest
import torch
from torch import nn

from export.samples import batch_of, exported, recoded
from laconic.core.activation_grids import ChannelGrid, TokenGrid
from laconic.core.edit import RoundActivation
from laconic.core.plan import Plan


def channels(count: int, dim: int, bits: int) -> ChannelGrid:
    scale = np.float32(np.linspace(0.05, 0.4, count)).tolist()
    return ChannelGrid(bits=bits, dim=dim, scale=tuple(scale), zero_point=tuple(i % 2**bits for i in range(count)))


@pytest.mark.parametrize("bits", [8, 4])
def test_ranges_of_channels_run_in_float_and_say_why(bits: int, tmp_path) -> None:
    model, batch = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4)), batch_of(3, 3, 6, 6)
    rounding = [
        RoundActivation("0", "input", channels(3, -3, bits)),
        RoundActivation("3", "input", channels(80, -1, bits)),
    ]
    pair = exported(model, recoded(model) + Plan.of(rounding), batch, tmp_path)
    assert pair.exported.integer == ()
    assert set(pair.exported.left_float.values()) == {
        "its input has a scale for each channel, and integer kernels want one"
    }
    assert pair.error(batch) < 1e-4


@pytest.mark.parametrize("bits", [8, 4])
def test_ranges_of_vectors_are_found_as_the_runtime_runs(bits: int, tmp_path) -> None:
    model, batch = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 5)), batch_of(3, 7, 12)
    rounding = [RoundActivation(path, "input", TokenGrid(bits=bits)) for path in ("0", "2")]
    pair = exported(model, recoded(model) + Plan.of(rounding), batch, tmp_path)
    assert pair.error(batch) < 1e-4
    louder = batch_of(3, 7, 12)
    louder.inputs[0].mul_(torch.logspace(-3, 3, 21).reshape(3, 7, 1))
    got, wanted = pair.outputs(louder)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
