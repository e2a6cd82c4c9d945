from pathlib import Path

import pytest
import torch
from torch import nn
from training_samples import HINT, data, plain_network, same_weights, task_of

from laconic.core.errors import UsageError
from laconic.distill import Labels, Match, SameFeatures, SoftLabels
from laconic.train import SGD, Training, distillation, in_turn, mean_teacher, supervised, train


class StoppedError(Exception):
    pass


def stop(step: int, total: int, loss: float) -> None:
    if step == 5:
        raise StoppedError


def test_teachers_take_turns_at_their_shares_of_the_run() -> None:
    asked: list[str] = []

    class Says(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(self.name)
            return torch.zeros(len(x), 3)

    task = task_of(data())
    early, late = (distillation(Says(name), task, SoftLabels()) for name in ("early", "late"))
    objective = in_turn({0.5: late, 0.0: early, 0.75: supervised(task)})
    train(plain_network(1), task, Training(steps=8), objective=objective)
    assert asked == ["early"] * 4 + ["late"] * 2


def test_each_has_its_own_projections_and_a_resumed_run_has_them_too(tmp_path: Path) -> None:
    task, training = task_of(data()), Training(steps=9, checkpoint_every=2, optimizer=SGD(learning_rate=0.2))

    def run(seed: int, **options: object) -> nn.Module:
        other = Match(teacher="0", student="0", loss=SameFeatures(), projection="linear")
        objective = in_turn(
            {
                0: distillation(plain_network(1), task, Labels(), [HINT]),
                0.3: mean_teacher(task, SoftLabels(hard_weight=0.5), decay=0.5),
                0.7: distillation(plain_network(2), task, Labels(), [other]),
            }
        )
        torch.manual_seed(seed)
        student = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
        return train(student, task, training, objective=objective, **options).model

    whole = run(3)
    with pytest.raises(StoppedError):
        run(3, work=tmp_path, progress=stop)
    assert same_weights(run(4, work=tmp_path), whole)


@pytest.mark.parametrize("shares", [[], [0.5], [0.0, 1.0], [-0.1, 0.0]])
def test_shares_outside_their_domain_are_refused(shares: list[float]) -> None:
    task = task_of(data())
    with pytest.raises(UsageError, match=r"in_turn\.objectives: got"):
        in_turn({share: supervised(task) for share in shares})
