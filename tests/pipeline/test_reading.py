"""How much data is read."""

import torch
from torch import nn

from laconic.graph import capture, costs
from laconic.pipeline.reading import Reading


def reading(model, x, samples=1024):
    return Reading.of(model, costs(capture(model, (x,))), samples)


def test_a_quick_model_is_observed_on_all_that_was_asked_for():
    assert reading(nn.Linear(8, 4), torch.randn(2, 8), samples=700) == Reading(calibration=700)


def test_a_slow_one_sees_twelve_positions_for_each_input_of_its_layers():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4096, 16384), nn.ReLU(), nn.Linear(16384, 4096))
        x = torch.empty(1, 512, 4096)
    found = reading(model, x)  # Every sample has 512 positions.
    assert found.calibration == 12 * 16384 // 512
    assert (found.held_back, found.offers, found.blocks) == (64, 32, 32)
    assert reading(model, x, samples=100).calibration == 100


def test_layers_that_hold_few_weights_do_not_count():
    class Pooled(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).mean(1))

    with torch.device("meta"):
        model, x = Pooled(nn.Linear(4096, 8192), nn.Linear(8192, 2)), torch.empty(1, 8192, 4096)
    assert reading(model, x).calibration == 128  # The last layer alone would ask for 98,304 samples.
