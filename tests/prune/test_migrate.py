import pytest
import torch
from torch import nn

import laconic
from laconic.core.errors import UsageError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture
def trained():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer, laconic.prune(model, torch.randn(5, 3), ratio=0.5)


def test_state_is_cut_with_its_parameter(trained):
    model, optimizer, pruned = trained
    kept = pruned.keep["0.weight[0]"]
    momentum = optimizer.state[model[2].weight]["exp_avg"][:, kept]
    laconic.migrate(optimizer, pruned.plan, model, pruned.model)
    state = optimizer.state[pruned.model[2].weight]
    assert torch.equal(state["exp_avg"], momentum) and state["step"] == 1
    assert optimizer.param_groups[0]["params"] == list(pruned.model.parameters())
    assert len(optimizer.state) == 4


def test_next_step_is_that_of_the_pruned_model_and_the_learning_rate_schedule_goes_on(trained):
    model, optimizer, pruned = trained
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    laconic.migrate(optimizer, pruned.plan, model, pruned.model)
    before = [parameter.clone() for parameter in pruned.model.parameters()]
    optimizer.zero_grad()
    pruned.model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    schedule.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, pruned.model.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_optimizer_of_another_model_is_refused_and_unchanged(trained):
    model, optimizer, pruned = trained
    with pytest.raises(UsageError, match="not a parameter of the original"):
        laconic.migrate(optimizer, pruned.plan, network(), pruned.model)
    assert optimizer.param_groups[0]["params"] == list(model.parameters())
