from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_samples import data, network, same_weights, shuffled, task_of

from laconic import distill
from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.train import SGD, Constant, Step, Training, Validation, held_back, supervised, train
from laconic.train.validation import Watched

OTHER = data(2, seed=9)
TRAINING = Training(steps=12, checkpoint_every=1, optimizer=SGD(learning_rate=0.3), schedule=Constant())


class Scripted(nn.Module):
    """Answers right on as many of ten samples as its script says, one entry a score; its weight counts steps."""

    def __init__(self, script: list[int]) -> None:
        super().__init__()
        self.weight, self.script, self.asked = nn.Parameter(torch.zeros(1)), script, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return self.weight * torch.ones(len(x), 2)
        right = self.script[self.asked]
        self.asked += 1
        return nn.functional.one_hot((torch.arange(len(x)) >= right).long(), 2).float()


def scripted(script: list[int], validation: dict[str, Any], **options: Any) -> tuple[Scripted, Any]:
    batch = (torch.zeros(10, 1), torch.zeros(10, dtype=torch.long))
    task = Task(train=[batch], evaluate=[batch])
    model = Scripted(script)

    def climb(step: Step) -> None:
        with torch.no_grad():
            model.weight.fill_(step.step)

    held = Validation(batches=[batch], **validation)
    run = train(model, task, TRAINING, objective=supervised(task), validation=held, callbacks=[climb], **options)
    return model, run


def test_the_run_ends_with_the_weights_of_the_best_score() -> None:
    # A callback sets the weight after each score, so that the score after step n sees n - 1.
    model, run = scripted([3, 5, 9, 9, 4, 8], {"every": 2})
    assert run.scores == tuple(zip(range(2, 14, 2), (0.3, 0.5, 0.9, 0.9, 0.4, 0.8), strict=True))
    assert (run.best_step, run.steps, model.weight.item()) == (6, 12, 5)


def test_a_run_that_does_not_get_better_stops_after_its_patience() -> None:
    _, run = scripted([3, 5, 4, 5, 9, 9], {"every": 2, "patience": 2})
    assert (run.steps, run.best_step) == (8, 4)
    _, run = scripted([3, 5, 6, 7, 8, 9], {"every": 2, "patience": 2, "margin": 0.25})
    # The best score is 0.6 after step 6 once 0.8 is not by more than 0.25 better; two scores later the run ends.
    assert (run.steps, run.best_step) == (10, 6)


def test_a_lower_score_is_better_where_the_metric_says_so() -> None:
    watched = Watched()
    assert [watched.note(i, s, higher=False, margin=0) for i, s in enumerate((3.0, 2.0, 2.5))] == [True, True, False]
    assert (watched.best, watched.waited) == (1, 1)


def test_without_a_step_count_every_epoch_is_scored_and_so_is_the_end() -> None:
    task = task_of(data(4))
    training = Training(steps=6)
    run = train(network(), task, training, objective=supervised(task), validation=Validation(batches=OTHER))
    assert [step for step, _ in run.scores] == [4, 6]


def test_validation_changes_nothing_of_the_training() -> None:
    task, weights = task_of(shuffled()), []
    for held in (None, Validation(batches=shuffled(seed=1), every=1)):
        seen: list[nn.Module] = []
        train(
            network(),
            task,
            TRAINING,
            objective=supervised(task),
            validation=held,
            callbacks=[lambda step, seen=seen: seen.append(step.model[0].weight.detach().clone())],
        )
        weights.append(seen[-1])
    assert torch.equal(*weights)


def test_a_run_that_stops_and_resumes_chooses_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    task = task_of(shuffled())

    def run(work: Path | None, seed: int, **options: Any) -> Any:
        held = Validation(batches=OTHER, every=2, patience=3)
        training = Training(steps=20, checkpoint_every=3, optimizer=SGD(learning_rate=2.0), average=0.5)
        objective = supervised(task)
        return train(network(seed), task, training, objective=objective, validation=held, work=work, **options)

    def crash(step: Step) -> None:
        if step.step == 8:
            raise ZeroDivisionError

    whole = run(None, 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, 0, callbacks=[crash])
    resumed = run(tmp_path, 7)
    assert resumed.resumed_at == 6
    assert (resumed.scores, resumed.steps, resumed.best_step) == (whole.scores, whole.steps, whole.best_step)
    assert same_weights(whole.model, resumed.model)
    again = run(tmp_path, 7)
    assert (again.resumed_at, again.scores) == (whole.steps, whole.scores)
    assert same_weights(whole.model, again.model)


def test_nothing_may_be_chosen_on_the_test_data() -> None:
    task = task_of(data())
    for batches in (task.evaluate, None):
        loader = DataLoader(TensorDataset(*data()[0]), batch_size=4)
        given = task if batches else Task(train=data(), evaluate=loader)
        held = Validation(batches=batches or DataLoader(loader.dataset, batch_size=2))
        with pytest.raises(UsageError, match=r"Validation\.batches: got Task\.evaluate"):
            train(network(), given, TRAINING, objective=supervised(given), validation=held)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"every": 0}, "every: got 0"), ({"patience": 1.5}, "patience: got 1.5"), ({"margin": -1}, "margin: got -1")],
)
def test_values_outside_their_domain_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=rf"Validation\.{named}"):
        Validation(batches=OTHER, **options)
    with pytest.raises(UsageError, match="can be walked more than once"):
        Validation(batches=iter(OTHER))


def test_samples_held_back_are_not_trained_on_and_none_is_lost() -> None:
    x = torch.arange(22.0)[:, None]
    for shuffle in (True, False):
        loader = DataLoader(TensorDataset(x, x), batch_size=4, shuffle=shuffle)
        less, rest = held_back(Task(train=loader, evaluate=data()), 0.25, seed=3)
        kept, held = (torch.cat([rows for rows, _ in part]).flatten().tolist() for part in (less.train, rest))
        assert len(held) == 6
        assert sorted([*kept, *held]) == list(range(22))
        assert held == sorted(held) and (kept == sorted(kept)) != shuffle
    assert held != list(range(16, 22))


def test_what_cannot_be_split_is_refused() -> None:
    task = task_of(data(3))
    with pytest.raises(UsageError, match=r"held_back\.share: got 1"):
        held_back(task, 1)
    with pytest.raises(UsageError, match="leaves some of 3 to train on"):
        held_back(task, 0.9)
    with pytest.raises(UsageError, match="sampler of its own"):
        held_back(task_of(DataLoader(TensorDataset(torch.zeros(4, 6)), sampler=[0, 1, 2, 3])))
    with pytest.raises(UsageError, match=r"got Task\.train of type dict"):
        held_back(task_of({"a": 1}))


def test_a_student_ends_with_the_weights_that_scored_best() -> None:
    heard: list[float | None] = []
    distill(
        network(1),
        network(2),
        task_of(data()),
        training=Training(steps=4),
        validation=Validation(batches=OTHER, every=2),
        callbacks=[lambda step: heard.append(step.score)],
    )
    assert [score is not None for score in heard] == [False, True, False, True]
