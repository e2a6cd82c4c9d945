import math
from pathlib import Path
from typing import Any

import pytest
import torch
from distill_samples import randn
from torch import Tensor, nn

from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.distill import ContrastiveMemory, Labels, Match, Pair, taking
from laconic.train import SGD, Training, distill


def pair_of(student: Tensor, teacher: Tensor, first: int = 0) -> Pair:
    return Pair(student=student, teacher=teacher, samples=torch.arange(first, first + len(student)))


def identity(loss: ContrastiveMemory, pair: Pair) -> Any:
    module = loss.module(pair)
    with torch.no_grad():
        for layer in (module.student, module.teacher):
            layer.weight.copy_(torch.eye(loss.dimension))
            layer.bias.zero_()
    return module


def test_the_loss_is_the_paper_s_estimate_over_the_negatives_drawn() -> None:
    student, teacher = randn(3, 4), randn(3, 4, seed=1)
    pair = pair_of(student, teacher)
    module = identity(ContrastiveMemory(samples=10, negatives=5, dimension=4, temperature=0.5, momentum=0.25), pair)
    rows = [[[x / math.hypot(*row) for x in row] for row in side.double().tolist()] for side in (student, teacher)]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        drawn = torch.randint(3, (5,)).tolist()
        torch.manual_seed(3)
        found = module(pair).item()
    order = module.memory.keys.tolist()  # Slots are given out in the order of the keys.

    def raised(anchor: list[float], other: list[float]) -> float:
        return math.exp(sum(a * b for a, b in zip(anchor, other, strict=True)) / 0.5)

    expected = 0.0
    for anchors, others in (rows, rows[::-1]):
        negatives = [[order[j] for j in drawn if order[j] != i] for i in range(3)]
        met = [raised(anchors[i], others[j]) for i in range(3) for j in negatives[i]]
        z = 10 * sum(met) / len(met)
        for i in range(3):
            noise = len(negatives[i]) / 10
            own = raised(anchors[i], others[i]) / z
            expected -= math.log(own / (own + noise)) / 3
            for j in negatives[i]:
                other = raised(anchors[i], others[j]) / z
                expected -= math.log(noise / (other + noise)) / 3
    assert found == pytest.approx(expected, rel=1e-5)


def test_negatives_come_from_batches_before_and_what_is_met_again_is_moved() -> None:
    loss = ContrastiveMemory(samples=20, negatives=64, dimension=4, momentum=0.5)
    module = identity(loss, pair_of(randn(1, 4), randn(1, 4)))
    alone = pair_of(randn(1, 4), randn(1, 4, seed=1))
    assert module(alone) == 0
    module(pair_of(randn(6, 4, seed=2), randn(6, 4, seed=3), first=1))
    before = module.memory.entries[:, 0].clone()
    assert module(pair_of(randn(1, 4, seed=4), randn(1, 4, seed=5))) > 0
    assert not torch.equal(module.memory.entries[:, 0], before)
    assert module.memory.held == 7


def test_a_sample_is_known_by_what_is_in_it_or_by_the_id_it_is_given(tmp_path: Path) -> None:
    x = randn(6, 3)
    labels = torch.zeros(6, dtype=torch.long)

    def run(batches: list[Any], **options: Any) -> int:
        match = Match(teacher="0", student="0", loss=ContrastiveMemory(samples=50, negatives=4, dimension=2))
        task = Task(train=batches, evaluate=batches, **options)
        torch.manual_seed(0)
        teacher, student = Named(), Named()
        work = tmp_path / str(len(list(tmp_path.iterdir())))
        training = Training(epochs=2, optimizer=SGD(learning_rate=0.1))
        distill(teacher, student, task, loss=Labels(), match=[match], training=training, work=work)
        from safetensors.torch import load_file

        return int(load_file(work / "checkpoint.safetensors")["parts/learned.0.memory.met"])

    named = {"x": x, "labels": labels}
    assert run([named, {"x": x.flip(0), "labels": labels}]) == 6
    ids = torch.arange(6)
    noisy = [{"x": x + noise, "labels": labels, "sample_ids": ids} for noise in (0, 1, 2)]
    assert run(noisy, call=taking("x")) == 6
    assert run([{"x": batch["x"], "labels": labels} for batch in noisy]) == 18


class Named(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x))


@pytest.mark.parametrize(
    ("name", "value"), [("samples", 0), ("negatives", 1.5), ("dimension", 0), ("temperature", 0), ("momentum", 1)]
)
def test_values_outside_their_domain_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"ContrastiveMemory\.{name}: got"):
        ContrastiveMemory(**{name: value})


def test_a_pair_without_ids_is_refused() -> None:
    pair = Pair(student=randn(2, 3), teacher=randn(2, 3))
    with pytest.raises(UsageError, match=r"Pair\.samples: got None"):
        ContrastiveMemory().module(pair)(pair)
