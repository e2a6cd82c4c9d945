import pytest
import torch
from torch import nn

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode, Swap
from laconic.core.plan import Plan
from laconic.core.spec import Identity
from laconic.core.task import Task
from laconic.solve import correct


def network() -> nn.Sequential:
    """Convolution, normalisation, convolution with a bias, linear layer; with statistics of their own."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.Flatten(),
        nn.Linear(20, 3),
    )
    model(torch.randn(16, 3, 6, 6) + 1)
    return model.eval()


X = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(1)) + 1
TASK = Task(evaluate=[X])


def changed_weights(model: nn.Module, factor: float = 1.4, shift: float = 0.05) -> Plan:
    return Plan.of(
        Recode(name, Dense.of(weight * factor + shift)) for name, weight in model.named_parameters() if weight.dim() > 1
    )


def outputs(model: nn.Module, layer: int, x: torch.Tensor = X) -> torch.Tensor:
    """What comes out of a layer, `[channels, values]`."""
    with torch.no_grad():
        return model[: layer + 1](x).movedim(1, 0).flatten(1).double()


@pytest.mark.parametrize("layer", [1, 3, 5])
def test_every_channel_has_its_mean_back(layer: int) -> None:
    model = network()
    plan = changed_weights(model)
    wanted = outputs(model, layer).mean(1)
    assert not torch.allclose(outputs(apply(model, plan), layer).mean(1), wanted, atol=1e-2)
    assert torch.allclose(outputs(apply(model, correct(model, plan, TASK)), layer).mean(1), wanted, atol=1e-5)


def test_every_normalised_channel_has_its_variance_back() -> None:
    model = network()
    corrected = apply(model, correct(model, changed_weights(model), TASK))
    assert torch.allclose(outputs(corrected, 1).var(1), outputs(model, 1).var(1), rtol=1e-4)


def test_only_the_change_of_statistics_is_used_not_the_few_samples_own() -> None:
    model, plan = network(), changed_weights(network(), factor=2.0, shift=0.0)
    held = {edit.where: edit.coding.decode() for edit in correct(model, plan, TASK)}
    # Twice the weights give twice the mean and four times the variance, whatever the samples are.
    assert torch.allclose(held["1.running_mean"], 2 * model[1].running_mean, atol=1e-4)
    assert torch.allclose(held["1.running_var"], 4 * model[1].running_var, rtol=1e-3)


def test_many_batches_give_nearly_what_one_gives() -> None:
    model, plan = network(), changed_weights(network())
    one = apply(model, correct(model, plan, TASK))
    many = apply(model, correct(model, plan, Task(evaluate=list(X.split(8)))))
    assert torch.allclose(outputs(one, 5), outputs(many, 5), atol=0.2 * float(outputs(one, 5).std()))


def test_a_plan_that_changes_nothing_gets_no_edits() -> None:
    model = network()
    plan = Plan.of([Recode("0.weight", Dense.of(model[0].weight))])
    assert correct(model, plan, TASK) == plan


def test_a_dead_channel_stays_finite() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[2] = 0
    corrected = apply(model, correct(model, changed_weights(model), TASK))
    assert outputs(corrected, 5).isfinite().all()


def test_a_swapped_layer_stays_as_the_plan_leaves_it() -> None:
    model = network()
    plan = Plan.of([Swap("1", Identity())])
    assert not any(edit.where.startswith("1.") for edit in correct(model, plan, TASK).recodes)


def test_a_layer_that_the_data_never_reaches_stays_as_it_is() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    model = Spare()
    plan = correct(model, changed_weights(model), Task(evaluate=[torch.randn(8, 4)]))
    assert "spare.bias" not in {edit.where for edit in plan}


def test_the_original_is_left_as_it_was() -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    correct(model, changed_weights(model), TASK)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_only_so_many_samples_are_read() -> None:
    model, plan = network(), changed_weights(network())
    assert correct(model, plan, TASK, samples=8) == correct(model, plan, Task(evaluate=[X[:8]]))


@pytest.mark.parametrize("model", [nn.Linear(6, 3), nn.BatchNorm1d(6).eval()])
def test_a_model_that_is_one_layer_is_corrected_under_its_own_names(model: nn.Module) -> None:
    task = Task(evaluate=[torch.randn(64, 6) + 1], metric="mse")
    changed = Plan.of([Recode("weight", Dense.of(model.weight + 0.5))])
    assert {edit.where for edit in correct(model, changed, task)} <= set(model.state_dict())
    apply(model, correct(model, changed, task))


def test_a_normalisation_that_is_called_twice_keeps_its_statistics() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.layer(self.norm(x)))

    model = Twice().eval()
    plan = correct(model, changed_weights(model), Task(evaluate=[torch.randn(8, 4)]))
    assert not any(edit.where.startswith("norm.") for edit in plan)


def test_a_layer_that_only_the_changed_model_reaches_stays_as_it_is() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.rare = nn.Linear(4, 1, bias=False), nn.Linear(4, 4)
            self.gate.weight.data.fill_(-1.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            there = (self.gate(x)[:, 0] > 0).nonzero()[:, 0]
            return x.index_add(0, there, self.rare(x[there]))

    model = Gated().eval()
    plan = correct(model, changed_weights(model, -1.0), Task(evaluate=[torch.rand(8, 4)]))
    assert "rare.bias" not in {edit.where for edit in plan}
