"""Layers with integer weights and rounded inputs run integer kernels, and compute what PyTorch computes."""

import numpy as np
import pytest
import torch
from torch import nn

from export.samples import (
    CONVOLUTIONAL_SITES,
    Convolutional,
    Residual,
    batch_of,
    exported,
    lively,
    recoded,
    recoded_in_turn,
    rounded,
)
from laconic.core.activation_grids import ActivationGrid
from laconic.core.edit import RoundActivation
from laconic.core.plan import Plan


def step_of(plan, site):
    return next(e.grid.scale for e in plan if isinstance(e, RoundActivation) and e.where == site)


@pytest.mark.parametrize(
    "kinds",
    [
        [{"bits": 8}],
        [
            {"bits": 8, "axis": None, "asymmetric": True},
            {"bits": 4},
            {"bits": 3, "axis": None},
            {"bits": 5, "axis": None, "asymmetric": True},
        ],
        [
            {"bits": 4, "axis": None, "asymmetric": True},
            {"bits": 7, "axis": None},
            {"bits": 8, "axis": None, "asymmetric": True},
            {"bits": 4},
        ],
    ],
    ids=["8 bits", "mixed", "mixed differently"],
)
def test_every_layer_runs_an_integer_kernel_within_one_step_of_pytorch(kinds, tmp_path):
    model, batch = Convolutional(), batch_of(4, 3, 12, 12)
    plan = recoded_in_turn(model, kinds) + rounded(model, batch, CONVOLUTIONAL_SITES)
    pair = exported(model, plan, batch, tmp_path)
    assert dict(pair.exported.kernels) == {
        "first.weight": "QLinearConv",
        "depthwise.weight": "QLinearConv",
        "strided.weight": "QLinearConv",
        "last.weight": "QGemm",
    }
    assert set(pair.exported.integer) == set(pair.exported.kernels)
    assert pair.exported.left_float == {}
    assert pair.error(batch) <= 1.001 * step_of(plan, "last:output")


def test_negative_factors_of_a_normalisation_keep_the_integer_kernel_right(tmp_path):
    model = lively(nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)))
    assert (model[1].weight < 0).any()
    batch = batch_of(2, 3, 9, 9)
    plan = recoded(model) + rounded(model, batch, ("0:input", "1:output"))
    pair = exported(model, plan, batch, tmp_path)
    got, wanted = pair.outputs(batch)
    assert pair.exported.integer == ("0.weight",)
    assert np.abs(got - wanted).max() <= 1.001 * step_of(plan, "1:output")
    assert (np.abs(got - wanted) > 1e-5).mean() < 0.01


def test_residual_additions_stay_between_integers_where_both_sides_are_rounded(tmp_path):
    model, batch = Residual(), batch_of(2, 3, 8, 8)
    sites = ("stem.0:input", "stem:output", "outer.0:input", "outer:output", "relu:output", "last:input")
    plan = recoded(model) + rounded(model, batch, sites)
    pair = exported(model, plan, batch, tmp_path)
    assert set(pair.exported.integer) == {"stem.0.weight", "inner.0.weight", "outer.0.weight", "last.weight"}
    assert pair.error(batch) < 0.02 * np.ptp(pair.outputs(batch)[1])


def test_sequences_of_vectors_run_integer_multiplication(tmp_path):
    model, batch = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 5)), batch_of(3, 7, 12)
    plan = recoded(model, 4) + rounded(model, batch, ("0:input", "2:input"))
    pair = exported(model, plan, batch, tmp_path)
    assert dict(pair.exported.kernels) == {"0.weight": "MatMulIntegerToFloat", "2.weight": "MatMulIntegerToFloat"}
    assert pair.error(batch) < 0.02 * np.ptp(pair.outputs(batch)[1])


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv3d])
def test_convolutions_of_other_dimensions_run_integer_kernels(convolution, tmp_path):
    model = nn.Sequential(convolution(4, 8, 3, groups=2), nn.ReLU())
    batch = batch_of(2, 4, *[5] * (1 if convolution is nn.Conv1d else 3))
    plan = recoded(model) + rounded(model, batch, ("0:input", "1:output"))
    pair = exported(model, plan, batch, tmp_path)
    assert pair.exported.integer == ("0.weight",)
    assert pair.error(batch) <= 1.001 * step_of(plan, "1:output")


def test_activations_of_four_bits_use_sixteen_levels(tmp_path):
    model, batch = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), batch_of(2, 3, 8, 8)
    plan = recoded(model, 4) + rounded(model, batch, ("0:input", "1:output"), bits=4)
    pair = exported(model, plan, batch, tmp_path)
    louder = batch_of(2, 3, 8, 8)
    louder.inputs[0].mul_(10)
    got, wanted = pair.outputs(louder)
    assert pair.exported.integer == ("0.weight",)
    assert len(np.unique(got)) <= 16
    assert np.abs(got - wanted).max() <= 1.001 * step_of(plan, "1:output")


def test_channels_too_small_for_an_integer_bias_still_give_their_bias(tmp_path):
    model, batch = lively(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))), batch_of(2, 3, 8, 8)
    with torch.no_grad():
        model[1].weight[:3] = torch.tensor([0.0, 1e-30, -1e-9])
        model[1].bias[:3] = torch.tensor([0.7, -0.7, 0.3])
    plan = recoded(model, 4) + rounded(model, batch, ("0:input", "1:output"))
    pair = exported(model, plan, batch, tmp_path)
    assert pair.exported.integer == ("0.weight",)
    assert pair.error(batch) <= 1.001 * step_of(plan, "1:output")


def test_layers_that_no_integer_kernel_fits_say_why_and_are_exact(tmp_path):
    layers = [nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(3)]
    model, batch = lively(nn.Sequential(*layers)), batch_of(2, 4, 9, 9)
    plan = recoded_in_turn(model, [{"bits": 4, "group_size": 5}, {"asymmetric": True}, {"axis": 1}])
    pair = exported(model, plan + rounded(model, batch, ("0.0:input", "1.0:input", "2.0:input")), batch, tmp_path)
    assert pair.exported.integer == ()
    assert dict(pair.exported.left_float) == {
        "0.0.weight": "scales that change within a channel have no integer kernel",
        "1.0.weight": "zero points that differ between channels have no integer kernel",
        "2.0.weight": "its scales belong to its inputs, integer kernels want them by output channel",
    }
    assert pair.error(batch) < 1e-5


def test_a_convolution_whose_output_is_not_rounded_stays_in_float_and_says_why(tmp_path):
    model, batch = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh()), batch_of(2, 3, 8, 8)
    pair = exported(model, recoded(model) + rounded(model, batch, ("0:input",)), batch, tmp_path)
    assert pair.exported.integer == ()
    assert "output is not rounded" in pair.exported.left_float["0.weight"]
    assert pair.error(batch) < 1e-5


def test_a_grid_below_zero_behind_a_relu_is_named_as_the_reason(tmp_path):
    model, batch = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)), batch_of(2, 3, 8, 8)
    below = RoundActivation("2", "input", ActivationGrid(bits=8, scale=0.02, zero_point=30))
    plan = recoded(model) + rounded(model, batch, ("0:input",)) + Plan((below,))
    assert "below zero" in exported(model, plan, batch, tmp_path).exported.left_float["0.weight"]


def test_float_weights_between_rounded_activations_are_not_rounded_by_the_runtime(tmp_path):
    model, batch = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 9)), batch_of(2, 3, 8, 8)
    with torch.no_grad():
        model[0].weight[0] *= 100  # one scale for the whole tensor would leave nothing of the other channels
        model[3].weight[0] *= 100
    pair = exported(model, rounded(model, batch, ("0:input", "1:output", "3:output")), batch, tmp_path)
    got, wanted = pair.outputs(batch)
    assert np.abs(got - wanted).max() < 1e-4
