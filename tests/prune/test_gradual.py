import copy

import pytest
import torch
from torch import nn

from laconic.core.apply import apply
from laconic.core.edit import Cut
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.prune import Magnitude, gradually, migrate

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
TASK = Task(evaluate=[X[:32], X[32:]])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 3)).eval()


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def nudge(model, step):
    """A stand-in for training."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * step.number)


@pytest.mark.parametrize(
    ("schedule", "aims"),
    [
        ("linear", [0.2, 0.4, 0.6]),
        ("cubic", [0.6 * (1 - (2 / 3) ** 3), 0.6 * (1 - (1 / 3) ** 3), 0.6]),
        ("one-shot", [0.6, 0.6, 0.6]),
    ],
)
def test_each_step_reaches_what_its_schedule_says_of_the_original(schedule, aims):
    seen, sizes = [], []

    def after_step(model, step):
        seen.append((step.number, step.steps, step.ratio))
        sizes.append(sum(p.numel() for p in model.parameters()))

    pruned = gradually(
        network(), TASK, ratio=0.6, schedule=schedule, after_step=after_step, of="parameters", importance=Magnitude()
    )
    assert seen == [(i + 1, 3, pytest.approx(aim)) for i, aim in enumerate(aims)]
    whole = sum(p.numel() for p in network().parameters())
    assert [1 - size / whole for size in sizes] == pytest.approx(aims, abs=0.02)
    assert pruned.parameters_ratio == pytest.approx(0.4, abs=0.02) and not pruned.notes


def test_steps_with_nothing_in_between_are_one_plan_of_the_original():
    model = network()
    before = copy.deepcopy(model.state_dict())
    pruned = gradually(model, TASK, ratio=0.5)
    assert pruned.macs_ratio == pytest.approx(0.5, abs=0.02)
    assert [edit.axis for edit in pruned.plan if isinstance(edit, Cut)] == list(pruned.keep)
    torch.testing.assert_close(apply(network(), pruned.plan)(X), pruned.model(X), rtol=0, atol=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_kept_indices_are_the_originals():
    pruned = gradually(network(), TASK, ratio=0.5, steps=2, importance=Magnitude(), scope="layer", compensate=None)
    rows = pruned.keep["0.weight[0]"]
    assert torch.equal(pruned.model[0].weight, network()[0].weight[rows])


def test_training_in_between_is_in_the_plan_and_the_trained_model_is_returned():
    trained = []

    def after_step(model, step):
        nudge(model, step)
        trained.append(model)

    pruned = gradually(network(), TASK, ratio=0.5, steps=2, after_step=after_step)
    assert pruned.model is trained[-1]
    again = apply(network(), pruned.plan)
    assert shapes(again) == shapes(pruned.model)
    torch.testing.assert_close(again(X), pruned.model(X), rtol=0, atol=0)


def test_a_model_that_is_returned_takes_the_place_of_the_one_given():
    def after_step(model, step):
        other = copy.deepcopy(model)
        nudge(other, step)
        return other

    pruned = gradually(network(), TASK, ratio=0.4, steps=2, after_step=after_step, compensate=None)
    torch.testing.assert_close(apply(network(), pruned.plan)(X), pruned.model(X), rtol=0, atol=0)
    assert not torch.equal(pruned.model[4].bias, network()[4].bias)


def test_an_optimizer_goes_along_from_step_to_step():
    models = [network()]
    optimizer = torch.optim.SGD(models[0].parameters(), lr=0.01, momentum=0.9)

    def train(model):
        model(X).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    train(models[0])

    def after_step(model, step):
        migrate(optimizer, step.plan, models[-1], model)
        models.append(model)
        train(model)

    pruned = gradually(models[0], TASK, ratio=0.5, steps=3, after_step=after_step)
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert all(a is b for a, b in zip(held, pruned.model.parameters(), strict=True))
    assert all(optimizer.state[p]["momentum_buffer"].shape == p.shape for p in held)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_leaves_the_original_as_it_was(failure):
    model = network()
    before = copy.deepcopy(model.state_dict())

    def after_step(given, step):
        nudge(given, step)
        if step.number == 2:
            raise failure

    with pytest.raises(failure):
        gradually(model, TASK, ratio=0.5, after_step=after_step, importance=Magnitude(), compensate=None)
    assert shapes(model) == shapes(network())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_limits_are_those_of_the_original():
    pruned = gradually(
        network(), TASK, ratio=0.7, least={"2.weight": 0.5}, keep=("4.*",), importance=Magnitude(), of="parameters"
    )
    assert list(pruned.keep) == ["0.weight[0]"] and len(pruned.keep["0.weight[0]"]) == 12
    assert "asked to save 70.0% of the parameters" in pruned.notes[0]


def test_a_model_that_stays_a_graph_goes_on_in_steps():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 2)

        def forward(self, x):
            return self.down(torch.relu(self.up(x)).view(-1, 12))

    pruned = gradually(Fixed(), TASK, ratio=0.5, steps=2, importance=Magnitude())
    assert pruned.kind == "graph" and pruned.macs_ratio == pytest.approx(0.5, abs=0.02)
    assert pruned.model(X).shape == (64, 2)


def test_another_architecture_is_refused():
    with pytest.raises(ModelError, match="expected a model of the same architecture"):
        gradually(network(), TASK, ratio=0.3, steps=1, after_step=lambda model, step: nn.Linear(6, 3))


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 1.0}, {"steps": 0}, {"schedule": "square"}, {"compensate": "all"}, {"samples": 0}],
)
def test_bad_input_is_named(wrong):
    with pytest.raises(UsageError, match=rf"gradually\.{next(iter(wrong))}: got"):
        gradually(network(), TASK, **wrong)
    with pytest.raises(UsageError, match=r"gradually\.task: got 'Tensor'"):
        gradually(network(), X)
