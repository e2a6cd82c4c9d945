import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from laconic.calibrate import Layer, LayerEvidence, calibrate
from laconic.core.codings import AffineGrid
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.quantize import CompensatedRounding, LeastError, MinMax, RoundToNearest
from laconic.quantize.compensated import _searched
from laconic.quantize.view import View
from laconic.solve import metric_of


def linear(outputs: int, inputs: int) -> Layer:
    return Layer(parameter="fc.weight", kind="linear", shape=(outputs, inputs))


def evidence(layer: Layer, vectors: int = 100, seed: int = 1) -> LayerEvidence:
    """Of inputs that go together."""
    groups, _, inputs = layer.matrix_shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, vectors, inputs, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) + 1
    positions = torch.full((groups,), vectors)
    return LayerEvidence(layer=layer, input_sum=x.mT @ x, gradient_sum=None, positions=positions, predictions=vectors)


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def output_error(coding: AffineGrid, given: torch.Tensor, seen: LayerEvidence) -> torch.Tensor:
    """`dW A dW^T` of every output, in float64."""
    delta = seen.layer.matrix((coding.decode() - given).double())
    return torch.einsum("goi,gij,goj->go", delta, seen.A, delta)


def nearest(technique: CompensatedRounding) -> RoundToNearest:
    return RoundToNearest(bits=technique.bits, symmetric=technique.symmetric, per=technique.per, range=technique.range)


@given(
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 12),
    vectors=st.integers(1, 30),
    bits=st.integers(2, 8),
    symmetric=st.booleans(),
    per=st.sampled_from(["tensor", "channel", 4]),
    range_=st.sampled_from([MinMax(), LeastError(candidates=4)]),
    seed=st.integers(0, 99),
)
def test_no_channel_changes_its_output_more_than_rounding_to_nearest_does(
    outputs, inputs, vectors, bits, symmetric, per, range_, seed
) -> None:
    layer, given = linear(outputs, inputs), weight(outputs, inputs, seed=seed)
    seen = evidence(layer, vectors, seed)
    technique = CompensatedRounding(bits=bits, symmetric=symmetric, per=per, range=range_)
    mine = output_error(technique.encode(given, layer, seen), given, seen)
    plain = output_error(nearest(technique).encode(given, layer, seen), given, seen)
    if per == "tensor":
        mine, plain = mine.sum(), plain.sum()
    # Errors are compared in float32, where those of the channel's weights themselves are the yardstick.
    slack = 1e-5 * float(torch.einsum("oi,ij,oj->o", given.double(), seen.A[0], given.double()).max())
    assert (mine <= plain * (1 + 1e-4) + slack).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per", ["tensor", "channel", 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_correlated_inputs_take_most_of_the_error(bits, per, symmetric) -> None:
    layer, given = linear(16, 40), weight(16, 40)
    seen = evidence(layer, vectors=300)
    technique = CompensatedRounding(bits=bits, per=per, symmetric=symmetric)
    mine = output_error(technique.encode(given, layer, seen), given, seen).sum()
    assert mine < 0.75 * output_error(nearest(technique).encode(given, layer, seen), given, seen).sum()


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: nn.Linear(12, 5), (64, 12)),
        (lambda: nn.Conv2d(4, 6, 3, groups=2), (8, 4, 7, 7)),
        (lambda: nn.Conv1d(6, 6, 9, groups=6), (8, 6, 20)),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (8, 4, 5, 5)),
    ],
    ids=["linear", "grouped", "depthwise", "transposed"],
)
def test_every_kind_of_layer_answers_nearer_to_the_original(make, inputs: tuple[int, ...]) -> None:
    module = make()  # in the test, so that its weights follow the test's seed
    x = weight(*inputs).cumsum(1).cumsum(-1)
    model = nn.Sequential(module)
    seen = calibrate(model, Task(evaluate=[x]), gradients=False, activations=False).layers["0.weight"]
    before = model(x)

    def error(technique: CompensatedRounding | RoundToNearest) -> float:
        coding = technique.encode(original, seen.layer, seen)
        with torch.no_grad():
            module.weight.copy_(coding.decode())
            return float((model(x) - before).double().square().sum())

    original = module.weight.detach().clone()
    technique = CompensatedRounding(bits=3)
    assert error(technique) < 0.8 * error(nearest(technique))


def test_fitted_scales_and_a_second_look_at_codes_pay() -> None:
    layer, given = linear(16, 40), weight(16, 40)
    seen = evidence(layer, vectors=300)
    errors = [
        float(output_error(CompensatedRounding(rounds=rounds).encode(given, layer, seen), given, seen).sum())
        for rounds in (0, 1, 4)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_the_scale_of_a_channel_is_the_least_squares_one_for_its_codes() -> None:
    layer, given = linear(1, 3), torch.tensor([[0.9, -1.7, 0.4]])
    second = torch.tensor([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 0.5]]).double()[None]
    seen = LayerEvidence(layer=layer, input_sum=second, gradient_sum=None, positions=torch.tensor([1]), predictions=1)
    coding = CompensatedRounding(bits=4, damping=1e-9, rounds=20).encode(given, layer, seen)
    codes = coding.integers().double()
    best = (codes @ second[0] @ given.double().T) / (codes @ second[0] @ codes.T)
    assert coding.scale.dtype == torch.float16
    assert coding.scale.item() == pytest.approx(best.item(), rel=1 / 2048)


@pytest.mark.parametrize("nothing", ["no evidence", "embedding"])
def test_without_inputs_that_go_together_weights_are_rounded_to_the_nearest_point(nothing: str) -> None:
    layer, given = linear(4, 6), weight(4, 6)
    seen = plain = None
    if nothing == "embedding":
        layer = Layer(parameter="fc.weight", kind="embedding", shape=(4, 6))
        counts = torch.tensor([[3.0, 0.0, 1.0, 9.0]]).double()
        seen = plain = LayerEvidence(
            layer=layer, input_sum=counts, gradient_sum=None, positions=torch.tensor([13]), predictions=13
        )
    technique = CompensatedRounding(bits=3)
    assert technique.edit(given, layer, seen) == nearest(technique).edit(given, layer, plain)


def test_inputs_that_are_always_zero_are_rounded_to_the_nearest_point() -> None:
    layer, given = linear(5, 8), weight(5, 8)
    seen = evidence(layer)
    seen.input_sum[:, 3], seen.input_sum[:, :, 3] = 0, 0
    technique = CompensatedRounding(bits=4, rounds=0)
    mine = technique.encode(given, layer, seen)
    assert torch.equal(mine.decode()[:, 3], mine.encode(given).decode()[:, 3])


@pytest.mark.parametrize("settings", [{"bits": 4}, {"bits": 4, "per": 32}, {"bits": 4, "symmetric": False}])
def test_following_several_scales_costs_less_than_the_first_one_alone(settings) -> None:
    layer, changes = linear(48, 96), []
    for seed in range(4):
        given, seen = weight(48, 96, seed=seed), evidence(layer, 400, seed)
        technique = CompensatedRounding(**settings)
        mine = technique.encode(given, layer, seen)
        view = View(layer, mine.blocks, metric_of(seen, damping=0.01))
        start = nearest(technique).encode(given, layer, seen)
        [[(_, before)]] = _searched(view, given, [[start]], 1, keep_zeros=False)
        delta = (before - given).double()
        changes.append(output_error(mine, given, seen).sum() / ((delta @ seen.A[0]) * delta).sum())
    assert torch.stack(changes).log().mean().exp() < 0.985


def test_the_same_weight_gives_the_same_edit() -> None:
    layer, given = linear(6, 20), weight(6, 20)
    seen, kept = evidence(layer), given.clone()
    technique = CompensatedRounding(bits=3, per=7)
    assert technique.edit(given, layer, seen) == technique.edit(given, layer, seen)
    assert torch.equal(given, kept)


def test_a_weight_that_is_not_finite_is_refused_by_name() -> None:
    given = weight(4, 6)
    given[1, 2] = torch.nan
    with pytest.raises(ModelError, match=r"fc\.weight: holds NaN"):
        CompensatedRounding().encode(given, linear(4, 6), evidence(linear(4, 6)))


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [({"bits": 1}, "bits"), ({"per": 0}, "per"), ({"damping": 0.0}, "damping"), ({"rounds": -1}, "rounds")],
)
def test_settings_outside_their_domain_are_refused(wrong, setting) -> None:
    with pytest.raises(UsageError, match=rf"{setting}: got"):
        CompensatedRounding(**wrong)


def test_zeros_stay_zero_when_asked_and_the_rest_makes_up_for_rounding_among_itself() -> None:
    layer = linear(8, 24)
    seen, given = evidence(layer), weight(8, 24)
    given[given.abs() < 0.7] = 0
    kept = CompensatedRounding(bits=3, keep_zeros=True).encode(given, layer, seen)
    nearest = RoundToNearest(bits=3).encode(given, layer, seen)
    assert (kept.decode()[given == 0] == 0).all()
    assert output_error(kept, given, seen).sum() < output_error(nearest, given, seen).sum()
    assert (CompensatedRounding(bits=3).encode(given, layer, seen).decode()[given == 0] != 0).any()
