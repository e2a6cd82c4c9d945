from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_samples import data, plain_network, same_weights, task_of

from laconic.core.errors import DataError, UsageError
from laconic.core.task import Batch, Task
from laconic.distill import Match, SameFeatures, SoftLabels
from laconic.train import SGD, Training, distillation, multitask, supervised, train


class TwoHeads(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Linear(6, 5)
        self.heads = nn.ModuleDict({"three": nn.Linear(5, 3), "two": nn.Linear(5, 2)})

    def forward(self, x: Tensor, head: str) -> Tensor:
        return self.heads[head](self.body(x).relu())


def ask(model: nn.Module, batch: Batch, head: str) -> Tensor:
    return model(*batch.args, head=head)


def tasks(**options: Any) -> dict[str, Task]:
    two = [(x, (x[:, 0] > 0).long()) for x, _ in data(8, seed=1)]
    return {
        "three": task_of(data(2), call=partial(ask, head="three"), **options),
        "two": task_of(two, call=partial(ask, head="two")),
    }


@pytest.mark.parametrize(("tau", "share"), [(1.0, 0.8), (0.5, 2 / 3), (0.0, 0.5)])
def test_tasks_are_drawn_by_a_power_of_their_size(tau: float, share: float) -> None:
    given = tasks()
    task, _ = multitask(given, {name: supervised(one) for name, one in given.items()}, tau=tau, batches=2000)
    torch.manual_seed(0)
    found = Counter(name for name, _ in task.loader("train"))
    assert found["two"] / 2000 == pytest.approx(share, abs=0.04)


def test_a_task_s_data_comes_whole_before_it_comes_again() -> None:
    given = tasks()
    task, _ = multitask(given, {name: supervised(one) for name, one in given.items()}, batches=60)
    torch.manual_seed(0)
    seen = [raw[0] for name, raw in task.loader("train") if name == "two"]
    first, second = seen[:8], seen[8:16]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({float(x.sum()) for x in first}) == 8


def teaching(given: dict[str, Task]) -> dict[str, Any]:
    plain = Task(evaluate=[])
    hint = Match(teacher="0", student="body", loss=SameFeatures(), projection="linear")
    torch.manual_seed(5)
    other = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    return {
        "three": distillation(plain_network(1), given["three"], SoftLabels(), [hint], teacher_task=plain),
        "two": distillation(other, given["two"], SoftLabels(hard_weight=0.5), teacher_task=plain),
    }


def test_each_task_has_its_own_teacher_head_labels_and_projections() -> None:
    given, terms, student = tasks(), set(), TwoHeads()
    task, objective = multitask(given, teaching(given), tau=0.0)
    before = [p.detach().clone() for p in student.parameters()]
    training = Training(steps=12, optimizer=SGD(learning_rate=0.1))
    train(student, task, training, objective=objective, callbacks=[lambda step: terms.update(step.losses)])
    assert terms == {"three: soft labels", "three: SameFeatures 0 -> body", "two: soft labels", "two: labels"}
    assert not any(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_a_run_that_stops_and_resumes_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(step: int, total: int, loss: float) -> None:
        if step == 7:
            raise StoppedError

    def run(seed: int, **options: Any) -> nn.Module:
        given = tasks()
        task, objective = multitask(given, teaching(given), tau=0.5)
        training = Training(steps=15, checkpoint_every=3, optimizer=SGD(learning_rate=0.1))
        return train(TwoHeads(seed), task, training, objective=objective, **options).model

    whole = run(1)
    with pytest.raises(StoppedError):
        run(1, work=tmp_path, progress=stop)
    assert same_weights(run(2, work=tmp_path), whole)


def test_what_does_not_fit_is_refused() -> None:
    given = tasks()
    objectives = {name: supervised(one) for name, one in given.items()}
    with pytest.raises(UsageError, match="expected tasks and objectives of the same names"):
        multitask(given, {"three": objectives["three"]})
    with pytest.raises(UsageError, match=r"multitask\.tau: got -1"):
        multitask(given, objectives, tau=-1)
    empty = {**given, "three": task_of([])}
    with pytest.raises(DataError, match="the training data of 'three' yields no batches"):
        list(multitask(empty, objectives)[0].loader("train"))
