import pytest
import torch
from torch import Tensor, nn

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.activation_grids import ActivationGrid
from laconic.core.apply import apply
from laconic.core.blocks import Blocks
from laconic.core.codings import AffineGrid, Dense
from laconic.core.edit import Recode, RoundActivation
from laconic.core.errors import ModelError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.solve import code_in_order
from laconic.solve.vectors import vectors


class Net(nn.Module):
    """Convolution, normalisation, a convolution beside a shortcut, a hidden layer used twice, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.twice = nn.Linear(6, 6)
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = (x + self.second(x)).relu().mean((2, 3))
        return self.last(self.twice(self.twice(x).relu()))


def network() -> Net:
    torch.manual_seed(0)
    model = Net()
    model(torch.randn(32, 3, 6, 6))
    return model.eval()


X = torch.randn(48, 3, 6, 6, generator=torch.Generator().manual_seed(1))
TASK = Task(evaluate=list(X.split(20)))


def coarse(weight: Tensor, layer: Layer, evidence: LayerEvidence) -> AffineGrid:
    blocks = Blocks(shape=layer.shape, axis=0)
    scale = blocks.split(weight).abs().amax(1) / 2
    return AffineGrid.fit(weight, bits=3, blocks=blocks, scale=scale, zero_point=None)


def answers(model: nn.Module, x: Tensor = X) -> Tensor:
    with torch.no_grad():
        return model(x)


def test_layers_come_in_order_with_what_makes_up_for_them() -> None:
    plan = code_in_order(network(), Plan(), TASK, coarse)
    assert [edit.where for edit in plan] == [
        "first.weight",
        "norm.running_mean",
        "norm.running_var",
        "second.weight",
        "second.bias",
        "last.weight",
        "last.bias",
    ]


def test_the_answers_are_nearer_to_the_original_than_those_of_layers_coded_alone() -> None:
    model = network()
    in_order = code_in_order(model, Plan(), TASK, coarse)
    weights = dict(model.named_parameters())
    names = [edit.where for edit in in_order if edit.where.endswith("weight")]
    alone = Plan.of(
        Recode(
            name, coarse(weights[name].detach(), Layer(parameter=name, kind="conv", shape=weights[name].shape), None)
        )
        for name in names
    )
    unseen = torch.randn(100, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    for x in (X, unseen):
        errors = [(answers(apply(model, plan), x) - answers(model, x)).square().mean() for plan in (in_order, alone)]
        assert errors[0] < 0.5 * errors[1]


def test_every_layer_is_coded_for_the_inputs_that_it_will_get() -> None:
    model, seen = network(), {}

    def encode(weight: Tensor, layer: Layer, evidence: LayerEvidence) -> AffineGrid:
        seen[layer.parameter] = evidence
        return coarse(weight, layer, evidence)

    changed = apply(model, code_in_order(model, Plan(), TASK, encode))
    inputs = []
    changed.second.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    answers(changed)
    rows = torch.cat(list(vectors(changed.second, inputs[0])), 1).double()
    evidence = seen["second.weight"]
    assert torch.allclose(evidence.input_sum, rows.mT @ rows, rtol=1e-4, atol=1e-2)
    assert evidence.positions.tolist() == [48 * 36]
    assert evidence.predictions == 48


def test_codings_that_change_nothing_leave_the_model_as_it_is() -> None:
    model = network()
    plan = code_in_order(model, Plan(), TASK, lambda weight, layer, evidence: Dense.of(weight))
    assert torch.allclose(answers(apply(model, plan)), answers(model), atol=1e-5)


def test_what_the_plan_does_besides_is_made_up_for() -> None:
    model = network()
    rounding = Plan.of([RoundActivation("second", "input", ActivationGrid(bits=2, scale=1.0, zero_point=0))])
    plan = code_in_order(model, rounding, TASK, lambda weight, layer, evidence: Dense.of(weight))
    errors = [(answers(apply(model, p)) - answers(model)).square().mean() for p in (plan, rounding)]
    assert errors[0] < 0.5 * errors[1]


def test_only_the_parameters_asked_for_are_coded() -> None:
    plan = code_in_order(network(), Plan(), TASK, coarse, parameters=["last.weight"])
    assert [edit.where for edit in plan if edit.where.endswith("weight")] == ["last.weight"]


def test_equal_arguments_give_equal_plans_and_leave_the_original_as_it_was() -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert code_in_order(model, Plan(), TASK, coarse) == code_in_order(model, Plan(), TASK, coarse)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_tied_weights_and_weights_used_as_such_are_left_to_the_caller() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out, self.bare = nn.Embedding(9, 5), nn.Linear(5, 9), nn.Linear(5, 5)
            self.out.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(self.embed(tokens) @ self.bare.weight)

    plan = code_in_order(Tied(), Plan(), Task(evaluate=[torch.arange(9)]), coarse)
    assert not [edit.where for edit in plan if edit.where.endswith("weight")]


def test_a_path_that_depends_on_the_data_is_an_error() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) if x.sum() > 0 else self.right(x)

    x = torch.ones(4, 3)
    with pytest.raises(ModelError, match="different paths"):
        code_in_order(Fork(), Plan(), Task(evaluate=[x, -x]), coarse)


def test_a_model_that_is_one_layer_is_coded_under_its_own_names() -> None:
    model = nn.Linear(6, 3)
    plan = code_in_order(model, Plan(), Task(evaluate=[torch.randn(64, 6)], metric="mse"), coarse)
    assert [edit.where for edit in plan] == ["weight", "bias"]
    apply(model, plan)


class Routed(nn.Module):
    """A mixture of experts: each sample goes to one of two that its own values choose, and none to a third."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.router = nn.Linear(6, 2)
        self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chosen, answer = self.router(x).argmax(-1), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            there = (chosen == number).nonzero()[:, 0]
            answer = answer.index_add(0, there, expert(x[there]))
        return answer


def test_experts_that_get_other_samples_or_none_are_coded_for_what_they_get() -> None:
    model, x = Routed().eval(), torch.randn(80, 6, generator=torch.Generator().manual_seed(1))
    moved = Plan.of([Recode("router.bias", Dense.of(model.router.bias + torch.tensor([1.0, 0.0])))])
    plan = code_in_order(
        model, moved, Task(evaluate=list(x.split(40))), coarse, settled=["router.weight", "router.bias"]
    )
    chosen = [int((answers(m.router, x).argmax(-1) == 0).sum()) for m in (model, apply(model, plan))]
    assert chosen[0] != chosen[1]
    assert {edit.where for edit in plan} == {"router.bias", "experts.0.weight", "experts.1.weight"}
