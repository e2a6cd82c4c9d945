from dataclasses import replace

import pytest
import torch
from torch import nn

from laconic.calibrate import Encoder, Layer, calibrate, layers
from laconic.core.coding import Coding
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.quantize import MXINT8, CompensatedRounding, LeastError, MinMax, RoundToNearest
from laconic.quantize.round_to_nearest import felt
from prune.weights.samples import LAYERS, evidence_of, weight_of

LINEAR = Layer(parameter="fc.weight", kind="linear", shape=(6, 20))


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per", ["tensor", "channel", 7])
def test_min_max_moves_no_weight_by_more_than_half_a_step(bits, symmetric, per):
    given = weight(6, 20)
    coding = RoundToNearest(bits=bits, symmetric=symmetric, per=per, range=MinMax()).encode(given, LINEAR)
    steps = coding.blocks.join(coding.scale.abs()[:, None].expand(-1, coding.blocks.length))
    # The zero point of an unsigned grid is rounded as well, which can cost the ends another half step.
    assert ((coding.decode() - given).abs() <= (0.5 if symmetric else 1.0) * steps * (1 + 1e-5)).all()


def test_codes_take_the_bytes_that_their_bits_say():
    coding = RoundToNearest(bits=4).encode(weight(6, 20), LINEAR)
    assert coding.size_bytes == 6 * 20 // 2 + 6 * 2


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (nn.Linear(12, 5), (64, 12)),
        (nn.Conv2d(4, 6, 3, groups=2), (8, 4, 7, 7)),
        (nn.Conv1d(6, 6, 3, groups=6), (8, 6, 20)),
        (nn.ConvTranspose2d(4, 6, 3), (8, 4, 5, 5)),
    ],
)
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_weighing_by_the_inputs_never_costs_more_at_the_output(module, inputs, per):
    x = weight(*inputs, seed=1) * torch.linspace(0.1, 3, inputs[1]).view(1, -1, *[1] * (len(inputs) - 2))
    model = nn.Sequential(module)
    task = Task(evaluate=[x], calibrate=[x])
    evidence = calibrate(model, task, gradients=False, activations=False).layers["0.weight"]

    def output_error(weigh: bool) -> float:
        coding = RoundToNearest(bits=3, per=per, weigh=weigh).encode(module.weight, evidence.layer, evidence)
        changed = nn.Sequential(type(module)(**_arguments(module)))
        changed.load_state_dict(model.state_dict())
        with torch.no_grad():
            changed[0].weight.copy_(coding.decode())
            return (changed(x) - model(x)).double().square().sum().item()

    # Both searches see the same candidates, so the weighed one can lose only by rounding of float32 sums.
    assert output_error(True) <= output_error(False) * 1.001


def _arguments(module: nn.Module) -> dict[str, int]:
    if isinstance(module, nn.Linear):
        return {"in_features": module.in_features, "out_features": module.out_features}
    return {
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        "kernel_size": 3,
        "groups": module.groups,
    }


def test_an_embedding_has_a_scale_for_every_row():
    model = nn.Sequential(nn.Embedding(30, 8))
    (layer,) = layers(model)
    coding = RoundToNearest(bits=4).encode(model[0].weight, layer)
    assert len(coding.scale) == 30


def test_a_weight_that_is_not_finite_is_refused_by_name():
    bad = weight(6, 20)
    bad[1, 1] = torch.nan
    with pytest.raises(ModelError, match=r"fc\.weight"):
        RoundToNearest().encode(bad, LINEAR)


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"bits": 9}, {"per": 0}, {"per": "row"}])
def test_settings_outside_their_domain_are_refused(wrong):
    with pytest.raises(UsageError, match="expected"):
        RoundToNearest(**wrong)


def test_the_same_weight_gives_the_same_edit():
    technique = RoundToNearest(bits=3, range=LeastError(candidates=10))
    assert technique.edit(weight(6, 20), LINEAR) == technique.edit(weight(6, 20), LINEAR)


@pytest.mark.parametrize("size", [3, 4, 50])
@pytest.mark.parametrize("kind", ["linear", "conv", "grouped conv"])
def test_the_error_of_a_group_is_that_of_its_own_inputs(kind: str, size: int) -> None:
    layer = LAYERS[kind]
    blocks, seen = RoundToNearest(per=size).blocks(layer), evidence_of(layer)
    delta = blocks.split(weight_of(layer))
    groups, outputs, inputs = layer.matrix_shape
    change = layer.matrix(weight_of(layer)).double()
    largest = seen.input_sum.diagonal(dim1=1, dim2=2).max()
    expected = [
        float(part @ seen.input_sum[g, s : s + size, s : s + size] @ part / largest)
        for g in range(groups)
        for o in range(outputs)
        for s in range(0, inputs, size)
        for part in [change[g, o, s : s + size]]
    ]
    assert felt(blocks, layer, seen)(delta).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["transposed conv", "transposed linear", "stack", "embedding"])
def test_groups_of_other_kinds_are_judged_by_the_energy_of_each_input(kind: str) -> None:
    layer = LAYERS[kind]
    seen = evidence_of(layer)
    blocks, delta = RoundToNearest(per=4).blocks(layer), weight_of(layer)
    moment = seen.input_sum
    energy = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
    mass = layer.weight((energy / energy.max())[:, None, :].expand(layer.matrix_shape))
    expected = blocks.split(delta.double().square() * mass).sum(1)
    assert torch.allclose(felt(blocks, layer, seen)(blocks.split(delta)).double(), expected, rtol=1e-5)


@pytest.mark.parametrize("technique", [RoundToNearest(bits=4, per=8), CompensatedRounding(bits=4, per=8), MXINT8])
def test_inputs_that_rise_and_fall_together_do_not_lead_the_scales_of_groups_astray(technique: Encoder) -> None:
    """All inputs have much in common, as what follows a ReLU has: groups could make up for each other's errors."""
    layer = Layer(parameter="fc.weight", kind="linear", shape=(16, 64))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 400, 64, generator=generator, dtype=torch.float64).mul(0.3) + 1
    seen = replace(evidence_of(LAYERS["linear"]), layer=layer, input_sum=x.mT @ x, gradient_sum=None)
    weight = torch.randn(16, 64, generator=generator)

    def error(coding: Coding) -> float:
        change = (coding.decode() - weight).double()
        return float((change @ seen.input_sum[0] * change).sum())

    blind = error(technique.encode(weight, layer))
    assert error(technique.encode(weight, layer, seen)) < blind
    assert (technique.encode(weight, layer, seen).decode() - weight).norm() < 0.15 * weight.norm()
