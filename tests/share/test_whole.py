import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.errors import ModelError, UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.measure import kl_divergence
from laconic.share import HashedSharing, SparseDictionary, share

METHODS = {"hashed": HashedSharing(compression=2), "dictionary": SparseDictionary(atoms=12, nonzeros=3, rounds=3)}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16 * 16, 10)).eval()


def smooth(count: int, seed: int) -> torch.Tensor:
    """Images whose neighbours resemble each other, so that inputs are correlated as real ones are."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(noise, 5, stride=1).mul(5)


TASK = Task(evaluate=[smooth(64, seed) for seed in range(4)])


@each_method
def test_the_model_is_left_alone_and_the_plan_comes_back_from_its_files(method, tmp_path) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = share(model, TASK, method=method)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan == share(model, TASK, method=method)
    assert apply(model, Plan.load(tmp_path))(smooth(4, 9)).isfinite().all()


@each_method
def test_layers_fitted_in_order_stay_nearer(method) -> None:
    model, held_out = network(), smooth(256, seed=99)
    evidence = calibrate(model, TASK)

    def distance(in_order: bool) -> float:
        plan = share(model, TASK, method=method, in_order=in_order, evidence=evidence)
        with torch.no_grad():
            return kl_divergence(model(held_out), apply(model, plan)(held_out)).mean().item()

    assert distance(True) < distance(False)


def test_layers_that_would_not_shrink_and_those_to_keep_stay() -> None:
    method = SparseDictionary(atoms=64, nonzeros=2)
    assert [edit.where for edit in share(network(), TASK, method=method)] == ["3.weight"]
    kept = share(network(), TASK, method=HashedSharing(), keep=["0.*", "6.weight"])
    assert [edit.where for edit in kept] == ["3.weight"]


def test_a_pattern_that_matches_nothing_is_refused_with_near_ones() -> None:
    with pytest.raises(UsageError, match=r"share\.keep.*3\.weight"):
        share(network(), TASK, keep=["3.weights"])


def test_a_model_in_which_nothing_shrinks_is_refused() -> None:
    with pytest.raises(ModelError, match="SparseDictionary makes smaller"):
        share(nn.Sequential(nn.Linear(3, 3)), Task(evaluate=[torch.randn(8, 3)], metric="mse"))
