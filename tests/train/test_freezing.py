import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training_samples import data, plain_network, task_of

from laconic.core.errors import UsageError
from laconic.train import AdamW, Training, freezing, supervised, train


def test_what_rests_does_not_move_and_moves_in_its_time() -> None:
    task, model = task_of(data()), plain_network(1)
    seen: list[list[torch.Tensor]] = [[p.detach().clone() for p in model.parameters()]]
    objective = freezing(supervised(task), {"0.*": 0.5, "2.bias": (0.25, 0.75)})
    train(
        model, task, Training(steps=8, optimizer=AdamW(learning_rate=0.05, weight_decay=0.1)), objective=objective,
        progress=lambda step, total, loss: seen.append([p.detach().clone() for p in model.parameters()]),
    )  # fmt: skip
    moved = [
        [not torch.equal(a, b) for a, b in zip(one, other, strict=True)] for one, other in itertools.pairwise(seen)
    ]
    assert [step[0] for step in moved] == [step[1] for step in moved] == [False] * 4 + [True] * 4
    assert [step[2] for step in moved] == [True] * 8
    assert [step[3] for step in moved] == [True] * 2 + [False] * 4 + [True] * 2
    assert all(p.requires_grad for p in model.parameters())


def test_a_step_with_everything_awake_is_the_step_without_it() -> None:
    task, one = task_of(data()), plain_network(1)
    other = copy.deepcopy(one)
    training = Training(steps=4)
    train(one, task, training, objective=freezing(supervised(task), {"0.*": (0.9, 1.0)}))
    train(other, task, training, objective=supervised(task))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_failure_leaves_nothing_frozen() -> None:
    task, model = task_of([(torch.zeros(2, 6), torch.tensor([0, 9]))]), plain_network(1)
    with pytest.raises(Exception, match="labels from 0 to 9"):
        train(model, task, Training(steps=2), objective=freezing(supervised(task), {"0.*": 1.0}))
    assert all(p.requires_grad for p in model.parameters())


def test_what_cannot_rest_is_refused() -> None:
    task = task_of(data())
    with pytest.raises(UsageError, match=r"got 'layer\*'; expected a pattern of parameter names such as 0\.weight"):
        train(plain_network(1), task, Training(steps=2), objective=freezing(supervised(task), {"layer*": 0.5}))
    for span in (0, 1.5, (0.5, 0.2)):
        with pytest.raises(UsageError, match=r"freezing\.frozen\['0\.\*'\]: got"):
            freezing(supervised(task), {"0.*": span})
    with pytest.raises(UsageError, match="at least one pattern"):
        freezing(supervised(task), {})
    wrapped = DistributedDataParallel.__new__(DistributedDataParallel)
    nn.Module.__init__(wrapped)
    with pytest.raises(UsageError, match="freezing: got several processes"):
        freezing(supervised(task), {"0.*": 0.5}).terms(wrapped, None, None)
