from itertools import pairwise

import pytest
import torch
from torch import nn

from laconic.core.errors import UsageError
from laconic.distill import SameLogits
from laconic.train import SGD, Training, distill, distill_through_assistants
from train.training_samples import data, same_weights, task_of

ONE = Training(steps=3, optimizer=SGD(learning_rate=0.1))


def network(width):
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def chain(**options):
    settings = {"assistants": 2, "loss": SameLogits(), "training": ONE, **options}
    return distill_through_assistants(network(64), network(1), task_of(data()), **settings)


def test_sizes_fall_by_one_factor_from_teacher_to_student():
    found = chain()
    sizes = [parameters(network(64)), *map(parameters, found.assistants), parameters(found.model)]
    factor = (sizes[-1] / sizes[0]) ** (1 / 3)
    for larger, smaller in pairwise(sizes):
        assert smaller / larger == pytest.approx(factor, rel=0.15)


def test_each_learns_from_the_one_before():
    found = chain()
    alone = network(1)
    distill(found.assistants[-1], alone, task_of(data()), loss=SameLogits(), training=ONE)
    assert same_weights(alone, found.model)
    taught_by_the_teacher = network(1)
    distill(network(64), taught_by_the_teacher, task_of(data()), loss=SameLogits(), training=ONE)
    assert not same_weights(taught_by_the_teacher, found.model)


def test_a_chain_that_stopped_goes_on_with_the_network_it_was_at(tmp_path):
    whole = chain()
    seen = []

    def stop(step, total, loss):
        seen.append((step, total))
        if step == 5:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        chain(work=tmp_path, progress=stop)
    assert seen == [(step, 9) for step in range(1, 6)]
    resumed = []
    found = chain(work=tmp_path, progress=lambda step, total, loss: resumed.append(step))
    assert resumed[0] > 3 and resumed[-1] == 9
    assert same_weights(found.model, whole.model)


def test_a_chain_needs_an_assistant_and_a_smaller_student():
    with pytest.raises(UsageError, match=r"assistants: got .*a whole number of at least 1"):
        chain(assistants=0)
    with pytest.raises(UsageError, match="fewer than the teacher's"):
        distill_through_assistants(network(2), network(3), task_of(data()))
