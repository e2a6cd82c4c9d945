"""Layers that compute their weight before each call get it as a parameter, and answer as before."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import laconic
from laconic import Plan, Task, UsageError, apply, plain_weights
from laconic.core.edit import Swap


def older(norm: str, layer: nn.Module, **settings: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return getattr(torch.nn.utils, norm)(layer, **settings)


def masked(layer: nn.Linear) -> nn.Linear:
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, None].expand(-1, 3, -1))[0][:, -1]


LAYERS = {
    "weight norm": lambda: weight_norm(nn.Linear(4, 4)),
    "spectral norm": lambda: spectral_norm(nn.Linear(4, 4)),
    "orthogonal": lambda: orthogonal(nn.Linear(4, 4)),
    "older weight norm": lambda: older("weight_norm", nn.Linear(4, 4)),
    "older spectral norm": lambda: older("spectral_norm", nn.Linear(4, 4)),
    "mask of torch's pruning": lambda: masked(nn.Linear(4, 4)),
    "recurrent": lambda: Recurrent(weight_norm(nn.GRU(4, 4, batch_first=True), "weight_hh_l0")),
    "older recurrent": lambda: Recurrent(older("weight_norm", nn.GRU(4, 4, batch_first=True), name="weight_hh_l0")),
}


def model_with(layer: nn.Module) -> nn.Module:
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 2))
    model.train()(torch.randn(8, 4)).sum().backward()  # What a computed weight remembers has a history then.
    return model.eval()


@pytest.mark.parametrize("kind", LAYERS)
def test_answers_stay_and_every_weight_is_a_parameter(kind: str) -> None:
    torch.manual_seed(0)
    model, x = model_with(LAYERS[kind]()), torch.randn(8, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answers = model(x).detach()
    plain = apply(model, plain_weights(model))
    torch.testing.assert_close(plain(x), answers, rtol=0, atol=0)
    assert len(plain_weights(model)) == 1 and len(plain_weights(plain)) == 0
    assert all(name.split(".")[-1].startswith(("weight", "bias")) for name in plain.state_dict())
    assert not any(name.endswith(("_g", "_v", "_orig", "_mask")) for name in plain.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(model(x), answers, rtol=0, atol=0)


@pytest.mark.parametrize("kind", LAYERS)
def test_plain_weights_learn(kind: str) -> None:
    model = model_with(LAYERS[kind]())
    plain = apply(model, plain_weights(model)).train()
    before = plain(torch.ones(8, 4)).detach()
    plain(torch.randn(8, 4)).square().sum().backward()
    torch.optim.SGD(plain.parameters(), lr=0.5).step()
    assert not torch.equal(plain(torch.ones(8, 4)), before)


def test_a_plan_carried_out_twice_changes_nothing_more_and_comes_back_from_a_folder(tmp_path) -> None:
    model, x = model_with(weight_norm(nn.Linear(4, 4))), torch.randn(3, 4)
    plan = plain_weights(model)
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan
    torch.testing.assert_close(apply(model, plan + plan)(x), model(x), rtol=0, atol=0)


def test_a_layer_in_two_places_stays_one_layer() -> None:
    shared = weight_norm(nn.Linear(4, 4))
    plain = apply(model := nn.Sequential(shared, shared), plain_weights(model))
    assert plain[0] is plain[1] and len(list(plain.parameters())) == 2


def test_a_computation_from_a_shared_tensor_is_left_alone() -> None:
    first, second = weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4)
    second.weight = first.parametrizations.weight.original1
    assert len(plain_weights(nn.Sequential(first, second))) == 0


def test_what_training_under_a_plan_projects_is_no_computed_weight() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    plan = laconic.quantize(model, Task(evaluate=[torch.randn(8, 4)], metric="mse"), bits=4)
    assert len(plain_weights(apply(model, plan, trainable=True))) == 0


def test_hooks_of_the_user_survive_and_are_called_once() -> None:
    model, calls = nn.Sequential(weight_norm(nn.Linear(4, 4))), []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    apply(model, plain_weights(model))(torch.randn(2, 4))
    assert calls == [1]


@pytest.mark.parametrize("kind", LAYERS)
def test_techniques_code_computed_weights_too(kind: str) -> None:
    torch.manual_seed(0)
    model = model_with(LAYERS[kind]())
    task = Task(evaluate=[torch.randn(64, 4)], metric="mse")
    plan = laconic.quantize(model, task, bits=4)
    assert isinstance(plan.edits[0], Swap)
    assert {name.split(".")[-1][:6] for name in (edit.parameter for edit in plan.recodes)} == {"weight"}
    assert len({edit.parameter.split(".")[0] for edit in plan.recodes}) == 2
    small = apply(model, plan)
    assert not any(parametrize.is_parametrized(module) for module in small.modules())
    assert laconic.sparsify(model, task, sparsity=0.5).edits[0] == plan.edits[0]


@pytest.mark.parametrize("technique", [laconic.quantize, laconic.sparsify, laconic.factorize, laconic.share])
def test_a_loader_in_the_place_of_a_task_is_refused_with_what_to_write(technique) -> None:
    with pytest.raises(UsageError, match=rf"{technique.__name__}.task: got 'list'; .* Write Task\(evaluate=loader"):
        technique(nn.Sequential(nn.Linear(4, 4)), [torch.randn(8, 4)])
