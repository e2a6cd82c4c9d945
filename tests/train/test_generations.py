"""Students that learn from students, and networks that learn from themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_samples import data, plain_network, same_weights, task_of

from laconic.core.errors import ModelError, UsageError
from laconic.distill import DistillationLoss, Lesson, SoftLabels
from laconic.train import SGD, Training, born_again, distill, own_teacher, train

TRAINING = Training(steps=4, optimizer=SGD(learning_rate=0.2, momentum=0), clip_norm=None)


def test_each_generation_learns_from_the_one_before(tmp_path: Path) -> None:
    task = task_of(data())
    found = born_again(
        plain_network(1), lambda: plain_network(2), task, generations=2, training=TRAINING, work=tmp_path
    )
    first = distill(plain_network(1), plain_network(2), task, training=TRAINING)
    second = distill(first, plain_network(2), task, training=TRAINING)
    assert same_weights(found.generations[0], first)
    assert same_weights(found.model, second)
    assert not same_weights(first, second)
    assert {path.name for path in tmp_path.iterdir()} == {"generation-1", "generation-2"}
    x = data(1)[0][0]
    mean = (first(x).softmax(-1) + second(x).softmax(-1)) / 2
    torch.testing.assert_close(found.ensemble()(x).softmax(-1), mean)


def test_exits_learn_from_the_answer_and_early_layers_with_them() -> None:
    (x, y), task = data(1)[0], task_of(data(1))
    student, expected = plain_network(1), plain_network(1)
    exits: list[nn.Module] = []

    class Seen(DistillationLoss):
        def terms(self, lesson: Lesson) -> dict[str, Tensor]:
            assert not lesson.teacher.requires_grad
            return SoftLabels(temperature=3, hard_weight=0.7).terms(lesson)

    objective = own_teacher(task, ["0", "1"], loss=Seen())
    build = objective.parts

    def parts(model: nn.Module, batch: Any) -> nn.Module:
        built = build(model, batch)
        exits.extend(nn.Linear(leave.in_features, leave.out_features) for leave in built)
        for copy, leave in zip(exits, built, strict=True):
            copy.load_state_dict(leave.state_dict())
        return built

    from dataclasses import replace

    training = Training(steps=1, optimizer=SGD(learning_rate=0.2, momentum=0), clip_norm=None)
    train(student, task, training, objective=replace(objective, parts=parts))
    first = expected[0](x)
    answer = expected[2](first.relu())
    loss = nn.functional.cross_entropy(answer, y)
    for leave, features in zip(exits, (first, first.relu()), strict=True):
        told = leave(features)
        soft = nn.functional.kl_div(
            (told / 3).log_softmax(-1), (answer.detach() / 3).softmax(-1), reduction="batchmean"
        )
        loss = loss + (0.3 * 9 * soft + 0.7 * nn.functional.cross_entropy(told, y)) / 2
    loss.backward()
    rate = 0.2 * training.schedule(0, 1)
    for ours, theirs in zip(student.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - rate * theirs.grad)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 5, 3)])
def test_exits_stand_after_images_and_tokens(shape: tuple[int, ...]) -> None:
    first = nn.Conv2d(3, 4, 1) if len(shape) == 4 else nn.Linear(3, 4)
    model = nn.Sequential(first, nn.Flatten(), nn.LazyLinear(2))
    x = torch.randn(shape)
    model(x)
    task = task_of([(x, torch.tensor([0, 1]))])
    trained = train(model, task, Training(steps=2), objective=own_teacher(task, ["0"]))
    assert set(trained.losses) == {"labels", "soft labels after 0", "labels after 0"}


def test_what_does_not_fit_is_refused() -> None:
    task = task_of(data())
    with pytest.raises(UsageError, match=r"born_again\.generations: got 0"):
        born_again(plain_network(1), lambda: plain_network(2), task, generations=0)
    with pytest.raises(UsageError, match=r"own_teacher\.layers: got \[\]"):
        own_teacher(task, [])
    model = nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3)))
    with pytest.raises(ModelError, match=r"in shape \[8, 2, 3\]; expected \[samples, classes\]"):
        train(model, task, Training(steps=1), objective=own_teacher(task, ["0"]))
