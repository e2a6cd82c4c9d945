"""A whole model with zeros, in one call."""

import pytest
import torch
from torch import nn

import laconic
from laconic.core.errors import ModelError, UsageError
from laconic.prune.weights import ErdosRenyiKernel, GlobalScore, SmallestWeights, sparsity_of
from laconic.prune.weights.distribution import Subject
from laconic.quantize import CompensatedRounding
from prune.weights.samples import LINEAR, weight_of


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 16), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(16, 5)).eval()


TASK = laconic.Task(evaluate=list(torch.randn(96, 2, 5, 5, generator=torch.Generator().manual_seed(1)).split(32)))


def total(plan: laconic.Plan, model: nn.Module) -> float:
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    shares = sparsity_of(plan)
    return sum(share * sizes[name] for name, share in shares.items()) / sum(sizes[name] for name in shares)


def error(plan: laconic.Plan, model: nn.Module) -> float:
    changed, x = laconic.apply(model, plan), torch.randn(200, 2, 5, 5)
    with torch.no_grad():
        return float((changed(x) - model(x)).square().mean())


@pytest.mark.parametrize("distribution", ["uniform", "global", "price", "erk"])
def test_all_layers_together_have_the_sparsity(distribution: str) -> None:
    plan = laconic.sparsify(net(), TASK, sparsity=0.7, distribution=distribution)
    assert total(plan, net()) == pytest.approx(0.7, abs=0.003)
    assert set(sparsity_of(plan)) == {"0.weight", "4.weight", "6.weight"}


def test_fitting_and_going_in_order_bring_the_model_nearer_to_the_original() -> None:
    model = net()
    plain, fitted = (
        error(laconic.sparsify(model, TASK, sparsity=0.6, method=method, distribution="uniform"), model)
        for method in ("magnitude", "alternating")
    )
    assert fitted < plain
    plan = laconic.sparsify(model, TASK, sparsity=0.6, in_order=True)
    assert total(plan, model) == pytest.approx(0.6, abs=0.003)
    assert error(plan, model) < plain
    assert "1.running_mean" in {edit.parameter for edit in plan.recodes}


def test_a_grid_after_a_mask_keeps_the_zeros_and_stores_codes_for_the_rest() -> None:
    model = net()
    rounding = CompensatedRounding(bits=4, keep_zeros=True)
    plan = laconic.sparsify(model, TASK, sparsity=0.5, distribution="uniform", then=rounding)
    mask = laconic.sparsify(model, TASK, sparsity=0.5, distribution="uniform")
    for both, alone in zip(plan.recodes, mask.recodes, strict=True):
        assert (both.coding.decode()[alone.coding.decode() == 0] == 0).all()
        assert both.coding.size_bytes < 0.4 * alone.coding.size_bytes


def test_skipped_layers_stay_and_unknown_ones_are_refused() -> None:
    plan = laconic.sparsify(net(), TASK, method="magnitude", skip=["0.weight"])
    assert "0.weight" not in sparsity_of(plan)
    with pytest.raises(UsageError, match=r"sparsify\.skip: got 'head'; expected one of 0\.weight"):
        laconic.sparsify(net(), TASK, method="magnitude", skip=["head"])


def test_one_threshold_for_all_layers_removes_the_least_of_all() -> None:
    small = Subject(weight_of(LINEAR) * 0.1, LINEAR, None)
    large = Subject(weight_of(LINEAR), LINEAR, None)
    shares = GlobalScore().sparsities({"small": small, "large": large}, SmallestWeights(sparsity=0.5))
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.01)
    assert shares["small"] > 0.85


def test_small_layers_keep_more_by_shape() -> None:
    wide = Subject(torch.zeros(12, 20), LINEAR, None)
    found = ErdosRenyiKernel().sparsities({"w": wide}, SmallestWeights(sparsity=0.4))
    assert found["w"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity: got 1\.0; expected a fraction in \[0, 1\)"),
        ({"method": "magic"}, r"sparsify\.method: got 'magic'; expected one of 'magnitude'"),
        ({"distribution": "fair"}, r"sparsify\.distribution: got 'fair'; expected one of 'uniform'"),
        ({"pattern": "2:4", "distribution": "global"}, r"expected 'uniform' with 2:4"),
        ({"pattern": "5:4"}, r"NOfM: got '5:4'"),
    ],
)
def test_settings_outside_their_domain_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        laconic.sparsify(net(), TASK, **settings)


def test_a_model_without_weights_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(50)).eval()
    with pytest.raises(ModelError, match="nothing to sparsify"):
        laconic.sparsify(model, TASK, method="magnitude")
