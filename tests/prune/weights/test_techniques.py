"""What each technique does, against its formula."""

import itertools

import pytest
import torch

from laconic.calibrate import Layer
from laconic.core.errors import UsageError
from laconic.prune.weights import (
    AlternatingSparsity,
    BlockPattern,
    BrainDamage,
    CompensatedSparsity,
    NOfM,
    SmallestWeights,
    Wanda,
)
from prune.weights.samples import LAYERS, LINEAR, evidence_of, weight_of

FITTING = pytest.mark.parametrize("kind", [CompensatedSparsity, AlternatingSparsity])


def error(coding: object, seen: object) -> float:
    return seen.nats(coding.decode() - weight_of(seen.layer))


def test_magnitude_is_a_hand_worked_example() -> None:
    layer = Layer(parameter="w", kind="linear", shape=(2, 3))
    coding = SmallestWeights().encode(torch.tensor([[1.0, -5.0, 2.0], [0.5, 3.0, -4.0]]), layer)
    assert coding.decode().tolist() == [[0.0, -5.0, 0.0], [0.0, 3.0, -4.0]]


def test_wanda_is_the_product_with_the_norm_of_the_input_row_by_row() -> None:
    seen, weight = evidence_of(LINEAR), weight_of(LINEAR)
    mask = Wanda().encode(weight, LINEAR, seen).mask
    product = weight.abs().double() * seen.input_sum[0].diagonal().sqrt()
    for row in range(12):
        assert (mask[row] == (product[row] > product[row].sort().values[9])).all()


def test_brain_damage_is_the_nats_of_one_removal_where_moments_are_diagonal() -> None:
    seen, weight = evidence_of(LINEAR), weight_of(LINEAR)
    scores = BrainDamage().scores(weight, LINEAR, seen)
    for place in ((0, 0), (3, 17), (11, 5)):
        delta = torch.zeros_like(weight)
        delta[place] = -weight[place]
        assert float(scores[place]) == pytest.approx(seen.nats(delta), rel=1e-4)


@pytest.mark.parametrize("name", ["conv", "grouped conv", "transposed conv", "transposed linear", "stack"])
def test_scores_lie_where_their_weights_do(name: str) -> None:
    layer = LAYERS[name]
    seen, weight = evidence_of(layer), weight_of(layer)
    scores = BrainDamage().scores(weight, layer, seen)
    for place in itertools.islice(itertools.product(*map(range, layer.shape)), 0, None, 11):
        delta = torch.zeros_like(weight)
        delta[place] = -weight[place]
        assert float(scores[place]) == pytest.approx(seen.nats(delta), rel=1e-4)


@FITTING
def test_surgery_scores_are_what_a_removal_costs_when_all_others_make_up_for_it(kind: type) -> None:
    seen, weight = evidence_of(LINEAR, gradients=False), weight_of(LINEAR)
    scores = kind(damping=1e-9).scores(weight, LINEAR, seen)
    A, w = seen.A[0], weight[2].double()
    rest = [j for j in range(20) if j != 7]
    # The others take least squares without input 7.
    best = torch.zeros(20, dtype=torch.float64)
    best[rest] = torch.linalg.solve(A[rest][:, rest], (A @ w)[rest])
    assert float(scores[2, 7]) == pytest.approx(float((best - w) @ A @ (best - w)) / 2, rel=1e-3)


@FITTING
@pytest.mark.parametrize("name", ["linear", "conv", "grouped conv", "stack", "transposed linear", "transposed conv"])
def test_fitting_costs_far_fewer_nats_than_leaving_the_rest_as_it_is(kind: type, name: str) -> None:
    layer = LAYERS[name]
    seen = evidence_of(layer)
    plain = BrainDamage(sparsity=0.5).encode(weight_of(layer), layer, seen)
    fitted = kind(sparsity=0.5, damping=1e-4).encode(weight_of(layer), layer, seen)
    assert error(fitted, seen) < 0.5 * error(plain, seen)


@FITTING
def test_what_is_kept_has_the_values_of_least_squares(kind: type) -> None:
    seen, weight = evidence_of(LINEAR, gradients=False), weight_of(LINEAR)
    coding = kind(sparsity=0.5, damping=1e-3).encode(weight, LINEAR, seen)
    A = seen.A[0]
    damped = A + 1e-3 * A.diagonal().mean() * torch.eye(20)
    for row in range(12):
        keep, w = coding.mask[row], weight[row].double()
        expected = torch.linalg.solve(damped[keep][:, keep], (damped @ w)[keep])
        torch.testing.assert_close(coding.decode()[row][keep].double(), expected, rtol=2e-3, atol=2e-3)


@FITTING
def test_outputs_that_matter_more_keep_more(kind: type) -> None:
    seen = evidence_of(LINEAR)
    seen.gradient_sum[0, 4, 4] *= 1e4
    kept = kind(sparsity=0.7).encode(weight_of(LINEAR), LINEAR, seen).mask.sum(1)
    assert kept[4] > 15 > kept.double().mean()


@FITTING
@pytest.mark.parametrize("size", [1e-20, 1e20])
def test_how_large_weights_are_does_not_matter(kind: type, size: float) -> None:
    technique, seen = kind(pattern=BlockPattern(rows=2, columns=3)), evidence_of(LINEAR)
    found = technique.encode(size * weight_of(LINEAR), LINEAR, seen).decode()
    torch.testing.assert_close(found / size, technique.encode(weight_of(LINEAR), LINEAR, seen).decode())


@FITTING
def test_two_of_four_is_fitted_too(kind: type) -> None:
    seen = evidence_of(LINEAR)
    plain = Wanda(pattern=NOfM()).encode(weight_of(LINEAR), LINEAR, seen)
    fitted = kind(pattern=NOfM(), damping=1e-4).encode(weight_of(LINEAR), LINEAR, seen)
    assert error(fitted, seen) < 0.6 * error(plain, seen)
    assert (fitted.mask.view(12, 5, 4).sum(2) == 2).all()


def test_alternation_costs_less_than_the_sweep_at_high_sparsity() -> None:
    layer = Layer(parameter="w", kind="linear", shape=(24, 48))
    seen = evidence_of(layer)
    sweep, both = (
        error(kind(sparsity=0.8).encode(weight_of(layer), layer, seen), seen)
        for kind in (CompensatedSparsity, AlternatingSparsity)
    )
    assert both < sweep


@FITTING
@pytest.mark.parametrize(("setting", "value"), [("damping", 0.0), ("damping", -1.0), ("steps", -1)])
def test_settings_of_the_solver_are_checked(kind: type, setting: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.{setting}: got {value}"):
        kind(**{setting: value})
