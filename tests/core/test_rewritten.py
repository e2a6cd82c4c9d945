import copy
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from core.samples import GRID, images, net, net_program, symmetric
from laconic.core.apply import apply, settle
from laconic.core.edit import Recode, Rewrite, RoundActivation, Swap
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.core.program import Program
from laconic.core.rewritten import Rewritten
from laconic.core.spec import Identity

REWRITE = Plan.of([Rewrite(net_program())])


def rewritten() -> Rewritten:
    model = apply(net(), REWRITE)
    assert isinstance(model, Rewritten)
    return model


def test_it_is_a_graph_module_with_the_models_names_and_tensors() -> None:
    model, original = rewritten(), net()
    assert isinstance(model, GraphModule) and type(model).__name__ == "Net"
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in original.named_parameters()]
    assert [name for name, _ in model.named_modules()] == [name for name, _ in original.named_modules()]
    assert model.state_dict().keys() == original.state_dict().keys()
    model.load_state_dict(original.state_dict())


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_twin_has_everything_and_shares_nothing(twin) -> None:
    model = apply(net(), REWRITE + Plan.of([RoundActivation("fc1", "input", GRID)]))
    model.fc1.bias = model.fc1.bias
    model.extra = nn.Linear(2, 2)
    model.norm.eval()
    other = twin(model)
    assert torch.equal(other(images()), model(images())) and hasattr(other, "extra")
    assert not torch.equal(other(images()), rewritten()(images()))
    with torch.no_grad():
        other.conv.weight.zero_()
    assert bool(model.conv.weight.any())
    assert type(other).__name__ == "Net" and isinstance(other, Rewritten)


def test_hooks_of_the_whole_survive_a_copy() -> None:
    model = rewritten()
    model.register_forward_hook(lambda *_: torch.zeros(1))
    assert copy.deepcopy(model)(images()).tolist() == [0.0]


def test_ties_survive_a_copy() -> None:
    model = rewritten()
    model.other = nn.Linear(8, 10)
    model.other.weight = model.fc1.weight
    twin = copy.deepcopy(model)
    assert twin.other.weight is twin.fc1.weight


def test_modes_are_those_of_the_modules() -> None:
    model = rewritten().train()
    before = model.norm.running_mean.clone()
    model(images())
    assert not torch.equal(before, model.norm.running_mean)
    assert not model.eval().norm.training


def test_it_is_cast_and_its_constants_with_it() -> None:
    model = rewritten()
    expected = model(images())
    torch.testing.assert_close(model.double()(images().double()), expected.double())
    assert model.constant_0.dtype == torch.float64 and "constant_0" not in model.state_dict()


def test_tensors_that_it_makes_follow_to_another_device() -> None:
    calls = (
        '["x","placeholder","x",[],{"items":[]}]',
        '["a","call_function","aten.arange.default",[4],{"items":[["device",{"device":null}]]}]',
        '["output","output","output",[[{"node":"a"}]],{"items":[]}]',
    )
    inputs = net_program().inputs
    program = Program(calls=calls, names=("x",), inputs=inputs, outputs=None, constants={})
    model = Rewritten(net(), program)
    assert model(images()).device.type == "cpu"
    assert model.to("meta")(images()).device.type == "meta"
    assert copy.deepcopy(model)(images()).device.type == "meta"


@pytest.mark.parametrize("name", ["graph", "code", "constant_0"])
def test_name_that_is_taken_is_said(name: str) -> None:
    model = net()
    setattr(model, name, nn.Linear(2, 2))
    with pytest.raises(UsageError, match=f"a model with '{name}' in it"):
        apply(model, REWRITE)


def test_plan_goes_on_where_modules_are_called() -> None:
    more = Plan.of([Recode("fc1.weight", symmetric(net().fc1.weight)), RoundActivation("fc1", "output", GRID)])
    more += Plan.of([Swap("norm", Identity())])
    model = apply(rewritten(), more)
    assert torch.equal(model(images()), apply(apply(net(), more), REWRITE)(images()))


@pytest.mark.parametrize("edit", [RoundActivation("idle", "input", GRID), Swap("idle", Identity())], ids=str)
def test_change_of_a_module_that_is_not_called_is_refused(edit) -> None:
    model = net()
    model.idle = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="does not call 'idle'"):
        apply(model, REWRITE + Plan.of([edit]))


def test_training_under_a_plan_and_back() -> None:
    coding = symmetric(net().fc1.weight)
    model = apply(net(), REWRITE + Plan.of([Recode("fc1.weight", coding)]), trainable=True)
    assert torch.equal(model.fc1.weight, coding.decode())
    model(images()).sum().backward()
    assert model.fc1.parametrizations.weight.original.grad is not None


def test_weights_that_are_read_and_not_called_are_trained_under_a_plan_and_copied() -> None:
    calls = [line for line in net_program().calls if '"fc2","call_module"' not in line]
    calls[-3:-3] = [
        '["w","get_attr","fc2.weight",[],{"items":[]}]',
        '["b","get_attr","fc2.bias",[],{"items":[]}]',
        '["fc2","call_function","aten.linear.default",[{"node":"relu_1"},{"node":"w"},{"node":"b"}],{"items":[]}]',
    ]
    rewrite = Plan.of([Rewrite(replace(net_program(), calls=tuple(calls)))])
    coding = symmetric(net().fc2.weight)
    model = apply(net(), rewrite + Plan.of([Recode("fc2.weight", coding)]), trainable=True)
    expected = apply(net(), REWRITE + Plan.of([Recode("fc2.weight", coding)]))(images())
    for other in (model, copy.deepcopy(model), settle(model)):
        torch.testing.assert_close(other(images()), expected)
    copy.deepcopy(model)(images()).sum().backward()
    assert model.fc2.parametrizations.weight.original.grad is None
