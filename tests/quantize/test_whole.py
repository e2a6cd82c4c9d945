import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate, layers
from laconic.core.activation_grids import ChannelGrid
from laconic.core.apply import apply
from laconic.core.codings import AffineGrid
from laconic.core.edit import RoundActivation
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.graph import capture
from laconic.measure import kl_divergence
from laconic.quantize import CompensatedRounding, MinMax, RoundActivations, RoundToNearest, quantize


def network() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * 16, 10)).eval()


def smooth(count: int, seed: int) -> torch.Tensor:
    """Images whose neighbours resemble each other, so that inputs are correlated as real ones are."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(noise, 5, stride=1).mul(5)


TASK = Task(evaluate=[smooth(64, seed) for seed in range(4)])


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_compensated_weights_stay_nearer_to_the_original_than_rounded_ones(bits):
    model = network()
    evidence = calibrate(model, TASK, gradients=False)
    held_out = smooth(256, seed=99)

    def distance(compensate: bool) -> float:
        plan = quantize(model, TASK, bits=bits, compensate=compensate, evidence=evidence)
        with torch.no_grad():
            return kl_divergence(model(held_out), apply(model, plan)(held_out)).mean().item()

    assert distance(True) < distance(False)


@pytest.mark.parametrize("activation_bits", [None, 4])
def test_layers_rounded_in_order_stay_nearer_still(activation_bits):
    models, held_out = [network() for _ in range(3)], smooth(256, seed=99)
    seen = {model: calibrate(model, TASK, gradients=False) for model in models}
    graph = capture(models[0], (held_out[:2],))

    def distance(model: nn.Module, in_order: bool) -> float:
        settings = {"activation_bits": activation_bits, "in_order": in_order, "evidence": seen[model], "graph": graph}
        plan = quantize(model, TASK, bits=2, **settings)
        assert len({edit.where for edit in plan}) == len(plan)
        with torch.no_grad():
            return kl_divergence(model(held_out), apply(model, plan)(held_out)).mean().item()

    assert sum(distance(model, True) for model in models) < 0.9 * sum(distance(model, False) for model in models)


def test_a_plan_names_every_weight_and_asks_for_activations_only_if_told():
    model = network()
    weights = quantize(model, TASK, bits=4)
    assert [edit.where for edit in weights] == ["0.weight", "3.weight", "6.weight"]
    both = quantize(model, TASK, bits=4, activation_bits=8)
    assert both.edits[:3] == weights.edits
    assert {type(edit) for edit in both.edits[3:]} == {RoundActivation}


def test_activations_can_be_told_in_detail():
    plan = quantize(network(), TASK, activations=RoundActivations(bits=4, per="channel", first_bits=8))
    rounded = [edit for edit in plan if isinstance(edit, RoundActivation) and edit.side == "input"]
    assert [edit.grid.bits for edit in rounded] == [8, 4, 4]
    assert [len(edit.grid.scale) for edit in rounded if isinstance(edit.grid, ChannelGrid)] == [3, 8, 128]


def test_settings_reach_the_technique():
    plan = quantize(network(), TASK, bits=5, per=9, symmetric=False, range=MinMax(), compensate=False)
    grid = "5-bit asymmetric grid per group of 9"
    assert {str(edit.coding) for edit in plan.recodes} == {grid, f"{grid} (a channel's last one holds 2, padded)"}


def test_a_model_without_weights_to_recode_is_refused():
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantize(nn.Sequential(nn.BatchNorm2d(3)), TASK)


def test_bits_outside_the_range_are_refused():
    with pytest.raises(UsageError, match="bits"):
        quantize(network(), TASK, bits=1)


def test_layers_that_nothing_reaches_are_named_and_rounded_to_the_nearest_point() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    nn.init.zeros_(model[0].weight)
    nn.init.constant_(model[0].bias, -1.0)
    with pytest.warns(UserWarning, match=r"^quantize: the calibration data never reached 2\.weight \(nothing"):
        plan = quantize(model, Task(evaluate=[torch.randn(16, 4)]), bits=4)
    nearest = RoundToNearest(bits=4, range=CompensatedRounding().range)
    weight = dict(model.named_parameters())["2.weight"]
    expected = nearest.encode(weight, next(layer for layer in layers(model) if layer.parameter == "2.weight"))
    assert torch.equal(plan.recodes[1].coding.decode(), expected.decode())


@pytest.mark.parametrize("in_order", [False, True])
def test_bits_by_name_are_those_of_the_first_pattern_and_what_none_names_stays(in_order: bool) -> None:
    model = network()
    plan = quantize(model, TASK, bits={"6.*": None, "0.*": 8, "[03].*": 3}, in_order=in_order)
    bits = {edit.parameter: edit.coding.bits for edit in plan.recodes if isinstance(edit.coding, AffineGrid)}
    assert bits == {"0.weight": 8, "3.weight": 3}
    assert torch.equal(apply(model, plan).get_parameter("6.weight"), model.get_parameter("6.weight"))


def test_bits_of_names_that_are_not_there_or_outside_their_domain_are_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"^quantize\.bits: got 'head\.\*'; expected a pattern that matches"):
        quantize(network(), TASK, bits={"head.*": 8, "*": 4})
    with pytest.raises(UsageError, match=r"bits: got 9; expected a whole number from 2 to 8"):
        quantize(network(), TASK, bits={"0.*": 9, "*": 4})
