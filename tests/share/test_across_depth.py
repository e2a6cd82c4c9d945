"""One tensor for several layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import laconic
from laconic.calibrate import Evidence, calibrate
from laconic.core.codings import Dense
from laconic.core.edit import Recode, Tie
from laconic.core.errors import ModelError, UsageError
from laconic.share import AcrossDepth

TASK = laconic.Task(evaluate=list(torch.randn(128, 6, generator=torch.Generator().manual_seed(0)).split(64)))


def deep(depth: int = 4) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = [layer for _ in range(depth) for layer in (nn.Linear(6, 6), nn.Tanh())]
        return nn.Sequential(*inner, nn.Linear(6, 3)).eval()


def nats(evidence: Evidence, name: str, change: torch.Tensor) -> float:
    return evidence.nats(name, change.double())


def damped(moment: torch.Tensor) -> torch.Tensor:
    return moment + 0.01 * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)


def shared(plan: laconic.Plan, model: nn.Module) -> float:
    whole = sum(p.numel() for p in model.parameters())
    return 1 - sum(p.numel() for p in laconic.apply(model, plan).parameters()) / whole


def test_the_shared_tensor_is_the_one_that_costs_least() -> None:
    model = deep(2)
    evidence = calibrate(model, TASK)
    first, second = AcrossDepth(save=0.3, steps=200).edits(model, evidence)
    assert isinstance(first, Recode) and second == Tie("2.weight", "0.weight")
    left, right = torch.zeros(36, 36, dtype=torch.float64), torch.zeros(36, dtype=torch.float64)
    for name in ("0.weight", "2.weight"):
        seen = evidence.layers[name]
        # Acts on rows of W, one after the other.
        both = torch.kron(damped(seen.G[0]), damped(seen.A[0]))
        left, right = left + both, right + both @ model.get_parameter(name).detach().double().flatten()
    best = torch.linalg.solve(left, right).view(6, 6)

    def cost(w: torch.Tensor) -> float:
        return sum(nats(evidence, n, w.double() - model.get_parameter(n).detach()) for n in ("0.weight", "2.weight"))

    assert torch.allclose(first.coding.decode().double(), best, atol=1e-4)
    mean = (model[0].weight + model[2].weight).detach() / 2
    assert cost(first.coding.decode()) < 0.9 * cost(mean)


def test_layers_that_are_the_same_already_are_joined_first_and_for_nothing() -> None:
    model = deep(4)
    with torch.no_grad():
        model[6].weight.copy_(model[4].weight)
    evidence = calibrate(model, TASK)
    recoded, tie = AcrossDepth(save=0.15).edits(model, evidence)
    assert tie == Tie("6.weight", "4.weight")
    assert isinstance(recoded, Recode) and torch.allclose(recoded.coding.decode(), model[4].weight, atol=1e-6)


@pytest.mark.parametrize("save", [0.1, 0.3, 0.5])
def test_as_much_is_saved_as_was_asked_and_no_pair_more(save: float) -> None:
    model = deep()
    plan = laconic.Plan.of(AcrossDepth(save=save).edits(model, calibrate(model, TASK)))
    pair = 36 / sum(p.numel() for p in model.parameters())
    assert save <= shared(plan, model) < save + pair


def test_only_neighbours_are_joined_and_a_file_holds_each_tensor_once(tmp_path) -> None:
    model = deep()
    plan = laconic.Plan.of(AcrossDepth(save=0.55).edits(model, calibrate(model, TASK)))
    small = laconic.apply(model, plan)
    assert small[0].weight is small[2].weight is small[4].weight is small[6].weight
    assert [type(edit) for edit in plan] == [Recode, Tie, Tie, Tie]
    plan.save(tmp_path)
    assert laconic.Plan.load(tmp_path) == plan
    assert len({small[place].bias for place in (0, 2, 4, 6)}) == 4


def test_grouped_convolutions_and_diagonal_moments_have_prices_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=2))
    task = laconic.Task(evaluate=[torch.randn(16, 4, 5, 5)], metric="mse")
    evidence = calibrate(model, task)
    recoded, tie = AcrossDepth(save=0.3).edits(model, evidence)
    assert tie == Tie("2.weight", "0.weight") and isinstance(recoded, Recode) and isinstance(recoded.coding, Dense)
    mean = (model[0].weight + model[2].weight).detach() / 2

    def cost(w: torch.Tensor) -> float:
        return sum(nats(evidence, n, w - model.get_parameter(n).detach()) for n in ("0.weight", "2.weight"))

    assert cost(recoded.coding.decode()) < cost(mean)


def test_directions_that_nothing_depends_on_stay_of_their_size() -> None:
    """Each layer's answers matter in one direction only, and these two are nearly the same."""
    model = deep(2)
    evidence = calibrate(model, TASK)
    direction = torch.zeros(6, dtype=torch.float64)
    direction[0], other = 1.0, torch.tensor([1.0, 1e-3, 0, 0, 0, 0], dtype=torch.float64)
    pulls = {"0.weight": torch.outer(direction, direction), "2.weight": torch.outer(other, other)}
    uses = tuple(replace(u, gradient_sum=pulls.get(u.layer.parameter, u.gradient_sum[0])[None]) for u in evidence.uses)
    recoded, _ = AcrossDepth(save=0.3, steps=500).edits(model, replace(evidence, uses=uses))
    assert isinstance(recoded, Recode)
    largest = max(float(model[place].weight.detach().abs().max()) for place in (0, 2))
    assert float(recoded.coding.decode().abs().max()) < 3 * largest


def test_what_cannot_be_is_refused() -> None:
    model = deep(2)
    evidence = calibrate(model, TASK)
    with pytest.raises(UsageError, match=r"at most 0\.3"):
        AcrossDepth(save=0.6).edits(model, evidence)
    with pytest.raises(UsageError, match=r"a fraction in \(0, 1\)"):
        AcrossDepth(save=20)
    with pytest.raises(UsageError, match="damping"):
        AcrossDepth(damping=0)
    with pytest.raises(UsageError, match="steps"):
        AcrossDepth(steps=-1)
    with pytest.raises(ModelError, match="no two layers of one shape"):
        AcrossDepth().edits(deep(1), calibrate(deep(1), TASK))
    with pytest.raises(ModelError, match="Calibrate with gradients"):
        AcrossDepth().edits(model, calibrate(model, TASK, gradients=False))
    model[2].weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"2\.weight: holds NaN"):
        AcrossDepth().edits(model, evidence)
