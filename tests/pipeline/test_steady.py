import random

import torch
from torch.utils.data import DataLoader

from laconic import Task
from laconic.pipeline.steady import steady


class Jittered(list):
    def __getitem__(self, index: int):
        return super().__getitem__(index) + torch.rand(1) + random.random()


def read(task: Task) -> torch.Tensor:
    return torch.cat([batch.args[0] for batch in task.batches("calibrate")])


def test_a_loader_that_shuffles_and_augments_comes_alike_at_every_pass_whatever_was_random_before():
    samples = Jittered(torch.arange(12.0).unsqueeze(1))
    task = Task(evaluate=[torch.zeros(1)], calibrate=DataLoader(samples, batch_size=5, shuffle=True))
    assert not torch.equal(read(task), read(task))
    found = read(steady(task, seed=3))
    torch.manual_seed(1)
    assert torch.equal(read(steady(task, seed=3)), found)
    assert not torch.equal(read(steady(task, seed=4)), found)


def test_two_passes_at_once_do_not_disturb_each_other_nor_who_reads_them():
    task = Task(evaluate=[torch.zeros(1)], train=DataLoader(torch.arange(12.0), batch_size=1, shuffle=True))
    loader = steady(task, seed=0).calibrate
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, drawn = iter(loader), iter(loader), []
    for _ in range(3):
        assert torch.equal(next(first), next(second))
        drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn), expected)
